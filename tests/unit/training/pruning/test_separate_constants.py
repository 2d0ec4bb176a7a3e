"""Constants that layers share become their own before pruning, and one again afterwards."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.equivalence import random_feeds
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.separate_constants import join_constants, separate_constants
from edgekit.training.pruning.structured import prune_structured
from edgekit.training.pruning.write_pruned import write_pruned
from tests.twin_graphs import make_model, weights
from tests.unit.graph.onnx_text import assert_close
from tests.unit.training.pruning.networks import images

SHARED = """
g (float[batch, 3, 8, 8] image) => (float[batch, 5] logits) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1, zeros)
  [relu1] b = Relu (a)
  [conv2] c = Conv <pads = [1, 1, 1, 1]> (b, w2, zeros)
  [relu2] d = Relu (c)
  [pool] p = GlobalAveragePool (d)
  [flat] q = Flatten (p)
  [fc] logits = Gemm <transB = 1> (q, w3, b3)
}
"""


def shared() -> ir.Model:
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (16, 3, 3, 3), "w2": (16, 16, 3, 3), "w3": (5, 16), "b3": (5,),
    }  # fmt: skip
    return make_model(SHARED, {**weights(shapes), "zeros": np.zeros(16, np.float32)})


def floats(model: ir.Model) -> list[str]:
    return [
        name
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.dtype == ir.DataType.FLOAT
    ]


def test_layers_with_one_bias_are_pruned_by_different_shares() -> None:
    model = separate_constants(shared())
    twin = build_twin(model)
    report = prune_structured(
        twin, images(), PruneConfig(macs_ratio=0.7, round_to=4, keep=("conv2",))
    )
    assert [item.after for item in report.channels] == [8, 16, 5]
    written = write_pruned(twin, model)
    feeds = random_feeds(twin.signature.inputs, seed=7, batch=3)
    assert_close(ReferenceSession(written).run(feeds)["logits"], twin.run(feeds)["logits"])


def test_what_stays_equal_is_stored_once_again() -> None:
    original = shared()
    model = separate_constants(original)
    assert len(floats(model)) == len(floats(original)) + 1
    assert len(floats(original)) == 5
    join_constants(model)
    assert sorted(floats(model)) == sorted(floats(original))
