"""Twins of ONNX graphs are pruned, and the graph follows."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgekit.errors import InternalError, UnsupportedError
from edgekit.graph.equivalence import random_feeds
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.cost import cost_of
from edgekit.training.pruning.structured import prune_structured
from edgekit.training.pruning.write_pruned import write_pruned
from tests.qat_models import badly_quantized
from tests.twin_graphs import convolutional, make_model, weights
from tests.unit.graph.onnx_text import assert_close
from tests.unit.training.pruning.networks import images

FLAT = """
g (float[batch, 3, 8, 8] image) => (float[batch, 5] logits) {{
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  [relu1] a2 = Relu (a)
  [deep] b = Conv <pads = [1, 1, 1, 1], strides = [2, 2], group = 16> (a2, w2, b2)
  [relu2] b2x = Relu (b)
  [conv3] c = Conv (b2x, w3, b3)
  [relu3] c2 = Relu (c)
  [flat] d = Reshape (c2, sizes)
  [fc] logits = Gemm <transB = {transposed}> (d, w4, b4)
}}
"""


def flat(sizes: tuple[int, ...] = (-1, 384), *, transposed: bool = True) -> ir.Model:
    """A classifier over all pixels, whose reshape states how many there are."""
    constants = weights({
        "w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 1, 3, 3), "b2": (16,),
        "w3": (24, 16, 1, 1), "b3": (24,), "b4": (5,),
        "w4": (5, 384) if transposed else (384, 5),
    })  # fmt: skip
    constants["sizes"] = np.array(sizes, np.int64)
    return make_model(FLAT.format(transposed=int(transposed)), constants)


def test_a_reshape_follows_also_where_zero_would_be_a_size() -> None:
    """As torch exports it."""
    model = flat()
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    reshape.attributes["allowzero"] = ir.AttrInt64("allowzero", 1)
    twin = build_twin(model)
    prune_structured(twin, images(), PruneConfig(macs_ratio=0.5, round_to=4))
    pruned = write_pruned(twin, model)
    feeds = random_feeds(twin.signature.inputs, seed=7, batch=3)
    assert_close(ReferenceSession(pruned).run(feeds)["logits"], twin.run(feeds)["logits"])


@pytest.mark.parametrize("transposed", [True, False])
def test_a_twin_reaches_the_goal_and_its_graph_computes_the_same(transposed: bool) -> None:
    model = flat(transposed=transposed)
    twin = build_twin(model)
    report = prune_structured(twin, images(), PruneConfig(macs_ratio=0.5, round_to=4))
    assert 0.4 < report.macs_ratio <= 0.5
    assert [item.reason for item in report.kept_whole] == [
        "its channels are outputs of the network"
    ]
    pruned = write_pruned(twin, model)
    feeds = random_feeds(twin.signature.inputs, seed=7, batch=3)
    found = ReferenceSession(pruned).run(feeds)["logits"]
    assert_close(found, twin.run(feeds)["logits"])
    channels = twin.graph_module.get_submodule(twin.layers["deep"]).out_channels
    (deep,) = [node for node in pruned.graph if node.name == "deep"]
    assert deep.attributes["group"].as_int() == channels
    assert channels in (4, 8, 12)
    again = build_twin(pruned)
    assert cost_of(again, [images()]) == report.after
    assert model.graph.initializers["w1"].shape == ir.Shape([16, 3, 3, 3])


def test_a_reshape_to_more_axes_keeps_its_layers_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = FLAT.replace("Reshape (c2, sizes)", "Reshape (deeper, sizes)").replace(
        "[flat]", "[deeper] deeper = Reshape (c2, axes)\n  [flat]"
    )
    constants = weights({
        "w1": (16, 3, 3, 3), "b1": (16,), "w2": (16, 1, 3, 3), "b2": (16,),
        "w3": (24, 16, 1, 1), "b3": (24,), "b4": (5,), "w4": (5, 384),
    })  # fmt: skip
    constants["sizes"] = np.array([-1, 384], np.int64)
    constants["axes"] = np.array([-1, 4, 6, 16], np.int64)
    # Reading the channels in two steps keeps the two reshapes from being one.
    text = text.replace("Reshape (deeper, sizes)", "Reshape (soft, sizes)").replace(
        "[flat]", "[soft] soft = Softmax <axis = 2> (deeper)\n  [flat]"
    )
    twin = build_twin(make_model(text.format(transposed=1), constants))
    report = prune_structured(twin, images(), PruneConfig(macs_ratio=0.8, round_to=4))
    kept = {layer: item.reason for item in report.kept_whole for layer in item.layers}
    assert "a reshape or a padding states sizes as numbers" in kept["conv3"]
    assert capsys.readouterr().err == ""
    assert report.macs_ratio <= 0.8


def test_a_graph_of_many_operators_is_pruned_where_it_can_be() -> None:
    model = convolutional()
    twin = build_twin(model)
    report = prune_structured(
        twin, images(size=16), PruneConfig(macs_ratio=0.9, round_to=2, allocation="global")
    )
    assert report.macs_ratio <= 0.9
    pruned = write_pruned(twin, model)
    feeds = random_feeds(twin.signature.inputs, seed=7, batch=2)
    found = ReferenceSession(pruned).run(feeds)
    for name, wanted in twin.run(feeds).items():
        assert_close(found[name], wanted)


def test_a_quantized_graph_is_refused() -> None:
    model = badly_quantized()
    with pytest.raises(UnsupportedError, match="Prune the float graph"):
        write_pruned(build_twin(model), model)
    with pytest.raises(UnsupportedError, match="Prune the float network"):
        prune_structured(build_twin(model), images(channels=1), PruneConfig(round_to=2))


def test_layers_of_a_twin_are_called_as_their_nodes() -> None:
    twin = build_twin(flat())
    report = prune_structured(twin, images(), PruneConfig(round_to=4, keep=("conv3",)))
    assert ("conv3",) in [item.layers for item in report.kept_whole]
    channels = {item.layer: (item.before, item.after) for item in report.channels}
    assert channels["conv3"] == (24, 24)
    assert channels["conv1"] == channels["deep"]
    assert set(channels) == {"conv1", "deep", "conv3", "fc"}


def test_a_twin_of_another_graph_is_noticed() -> None:
    with pytest.raises(InternalError, match="built from another graph"):
        write_pruned(build_twin(flat()), convolutional())


def test_a_twin_with_nan_is_refused() -> None:
    model = flat()
    twin = build_twin(model)
    with torch.no_grad():
        next(twin.parameters()).fill_(float("nan"))
    with pytest.raises(UnsupportedError, match="NaN"):
        write_pruned(twin, model)
