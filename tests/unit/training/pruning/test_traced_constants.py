"""Norms before an activation stand as constants in a graph, and follow the channels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgekit.graph.equivalence import random_feeds
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin
from edgekit.graph.values import Array
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.separate_constants import separate_constants
from edgekit.training.pruning.structured import prune_structured
from edgekit.training.pruning.traced_constants import traced_constants
from edgekit.training.pruning.write_pruned import write_pruned
from tests.twin_graphs import make_model, weights
from tests.unit.training.pruning.attention_graphs import error
from tests.unit.training.pruning.networks import images

_HEAD = """
  [pool] pooled = GlobalAveragePool ({last})
  [flat] flat = Flatten (pooled)
  [fc] logits = Gemm <transB = 1> (flat, wf, bf)
}}
"""
DENSE = """
g (float[batch, 3, 8, 8] image) => (float[batch, 5] logits) {
  [stem] x0 = Conv <pads = [1, 1, 1, 1]> (image, w0, z0)
  [mul1] n1 = Mul (x0, s1)
  [add1] m1 = Add (n1, t1)
  [relu1] r1 = Relu (m1)
  [dense1] y1 = Conv <pads = [1, 1, 1, 1]> (r1, w1, z1)
  [cat1] x1 = Concat <axis = 1> (x0, y1)
  [mul2] n2 = Mul (x1, s2)
  [add2] m2 = Add (n2, t2)
  [relu2] r2 = Relu (m2)
  [dense2] y2 = Conv <pads = [1, 1, 1, 1]> (r2, w2, z1)
  [cat2] x2 = Concat <axis = 1> (x1, y2)
  [mul3] n3 = Mul (x2, s3)
  [add3] m3 = Add (n3, t3)
  [relu3] r3 = Relu (m3)
  [transition] x3 = Conv (r3, w3, z0)
  [half] p3 = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x3)
  [mul4] n4 = Mul (p3, s4)
  [add4] m4 = Add (n4, t4)
  [relu4] r4 = Relu (m4)
""" + _HEAD.format(last="r4")
RESIDUAL = """
g (float[batch, 3, 8, 8] image) => (float[batch, 5] logits) {
  [stem] x0 = Conv <pads = [1, 1, 1, 1]> (image, w0, z0)
  [mul1] n1 = Mul (x0, s1)
  [add1] m1 = Add (n1, t1)
  [relu1] r1 = Relu (m1)
  [first] y1 = Conv <pads = [1, 1, 1, 1]> (r1, wa, z0)
  [relu2] r2 = Relu (y1)
  [second] y2 = Conv <pads = [1, 1, 1, 1]> (r2, wb, z0)
  [sum] x1 = Add (x0, y2)
  [mul4] n4 = Mul (x1, s4)
  [add4] m4 = Add (n4, t4)
  [relu4] r4 = Relu (m4)
""" + _HEAD.format(last="r4")
SILENT = range(8, 16)
"""Channels of the stem that nothing reads in `silenced`."""


def constants() -> dict[str, Array]:
    shapes: dict[str, tuple[int, ...]] = {
        "w0": (16, 3, 3, 3), "w1": (8, 16, 3, 3), "w2": (8, 24, 3, 3), "w3": (16, 32, 1, 1),
        "wa": (16, 16, 3, 3), "wb": (16, 16, 3, 3), "wf": (5, 16), "bf": (5,),
        "z0": (16,), "z1": (8,),
    }  # fmt: skip
    for at, channels in enumerate((16, 24, 32, 16), 1):
        shapes |= {f"s{at}": (channels, 1, 1), f"t{at}": (1, channels, 1, 1)}
    found = weights(shapes)
    for at in range(1, 5):
        found[f"s{at}"] = 1 + 0.2 * np.tanh(found[f"s{at}"].astype(np.float32))
    return found


def model_of(text: str, known: dict[str, Array]) -> ir.Model:
    used = {
        name: array for name, array in known.items() if f"{name})" in text or f"{name}," in text
    }
    return separate_constants(make_model(text, used))


@pytest.mark.parametrize("text", [DENSE, RESIDUAL], ids=["dense", "residual"])
def test_every_layer_but_the_last_is_pruned_and_the_graph_computes_the_same(text: str) -> None:
    model = model_of(text, constants())
    twin = build_twin(model)
    report = prune_structured(twin, images(), PruneConfig(macs_ratio=0.35, round_to=4))
    assert [(item.layers, item.reason) for item in report.kept_whole] == [
        (("fc",), "its channels are outputs of the network")
    ]
    assert all(item.after < item.before for item in report.channels if item.layer != "fc")
    written = write_pruned(twin, model)
    stem = report.channels[0].after
    scale = written.graph.initializers["s1"]
    assert scale.shape is not None
    assert stem in tuple(scale.shape)
    feeds = random_feeds(twin.signature.inputs, seed=7, batch=3)
    found, wanted = ReferenceSession(written).run(feeds)["logits"], twin.run(feeds)["logits"]
    assert error(found, wanted) <= 1e-4


def test_channels_that_nothing_reads_go_without_a_trace() -> None:
    known = constants()
    known["w0"][SILENT] = 0.01
    for name in ("w1", "w2", "w3"):
        known[name][:, SILENT] = 0
    model = model_of(DENSE, known)
    twin = build_twin(model)
    keep = ("dense1", "dense2", "transition")
    report = prune_structured(twin, images(), PruneConfig(macs_ratio=0.75, round_to=8, keep=keep))
    assert [item.after for item in report.channels] == [8, 8, 8, 16, 5]
    written = write_pruned(twin, model)
    session = ReferenceSession(model)
    feeds = random_feeds(session.signature.inputs, seed=7, batch=3)
    found, wanted = ReferenceSession(written).run(feeds)["logits"], session.run(feeds)["logits"]
    assert error(found, wanted) <= 1e-4


def test_constants_are_buffers_again_after_tracing() -> None:
    twin = build_twin(model_of(RESIDUAL, constants()))
    before = {name: array.clone() for name, array in twin.named_buffers()}
    parameters = [name for name, _ in twin.named_parameters()]
    with traced_constants(twin, [images()]) as found:
        assert set(found) == {f"graph_module.{name}" for name in ("s1", "t1", "s4", "t4")}
        assert set(found) <= {name for name, _ in twin.named_parameters()}
    after = dict(twin.named_buffers())
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], array) for name, array in before.items())
    assert [name for name, _ in twin.named_parameters()] == parameters
