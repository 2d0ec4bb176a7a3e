"""The twin of a QDQ graph: integers of ONNX Runtime, shared and fixed quantizers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, fx, nn

from edgekit.errors import UnsupportedGraphError
from edgekit.graph.equivalence import difference, random_feeds
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import FakeQuantize, build_twin
from edgekit.graph.torch_twin.fake_quantize import BiasQuantize
from edgekit.graph.torch_twin.layers import QuantizedConv2d, QuantizedLayer
from edgekit.graph.values import Array, constant_array
from tests.qdq_graphs import insert_qdq
from tests.teacher_forcing import forced_differences
from tests.twin_graphs import convolutional, make_model, transformer, weights


def quantized(make: Callable[[], ir.Model]) -> ir.Model:
    model = make()
    with ReferenceSession(model) as session:
        return insert_qdq(model, random_feeds(session.signature.inputs, seed=0, batch=4))


def feeds_for(model: ir.Model, seed: int = 1) -> dict[str, Array]:
    with ReferenceSession(model) as session:
        return random_feeds(session.signature.inputs, seed=seed, batch=3)


@pytest.mark.parametrize("make", [convolutional, transformer])
def test_it_gives_the_integers_of_onnx_runtime(make: Callable[[], ir.Model]) -> None:
    model = quantized(make)
    feeds = feeds_for(model)
    with ReferenceSession(model, optimization="disabled") as session:
        expected = session.run(feeds)
    found = build_twin(model).run(feeds)
    for output in model.graph.outputs:
        producer = output.producer()
        assert producer is not None
        scale = constant_array(producer.inputs[1])
        assert scale is not None
        ours, theirs = (item[output.name or ""].astype(float) for item in (found, expected))
        steps = np.abs(ours - theirs) / float(scale)
        assert steps.max() < 1.01
        assert (steps > 0.5).mean() < 0.01


@pytest.mark.parametrize("make", [convolutional, transformer])
def test_every_value_is_within_one_step_of_the_runtime(make: Callable[[], ir.Model]) -> None:
    model = quantized(make)
    differences = forced_differences(model, feeds_for(model))
    assert len(differences) > 15
    assert max(differences.values()) <= 1


def test_layers_keep_float_parameters_that_the_integers_came_from() -> None:
    model = quantized(convolutional)
    twin = build_twin(model)
    stem = twin.graph_module.get_submodule("stem")
    assert isinstance(stem, QuantizedConv2d)
    assert isinstance(stem, nn.Conv2d)
    assert isinstance(stem.weight, nn.Parameter)
    assert stem.weight_quantizer is not None
    assert stem.weight_quantizer.axis == 0
    assert (stem.weight_quantizer.low, stem.weight_quantizer.high) == (-127, 127)
    # Rounding what was dequantized changes nothing.
    assert torch.equal(stem.rounded_weight(), stem.weight)
    up = twin.graph_module.get_submodule("up")
    assert isinstance(up, QuantizedLayer)
    assert up.weight_quantizer is not None
    assert up.weight_quantizer.axis == 1


def test_a_bias_follows_the_scales_of_input_and_weights() -> None:
    twin = build_twin(quantized(convolutional))
    stem = twin.graph_module.get_submodule("stem")
    assert isinstance(stem, QuantizedConv2d)
    assert isinstance(stem.bias_quantizer, BiasQuantize)
    image = twin.graph_module.get_submodule("image_quantizer")
    assert isinstance(image, FakeQuantize)
    assert stem.bias_quantizer.sources == (image, stem.weight_quantizer)
    before = stem.bias_quantizer.scale()
    image.scale.mul_(2)
    assert torch.equal(stem.bias_quantizer.scale(), 2 * before)


def test_same_scale_ops_share_one_quantizer_and_are_rounded_once() -> None:
    model = quantized(convolutional)
    twin = build_twin(model)
    calls = [
        str(node.target)
        for node in twin.graph_module.graph.nodes
        if node.op == "call_module" and str(node.target).endswith("_quantizer")
    ]
    pairs = sum(node.op_type == "QuantizeLinear" for node in model.graph)
    shared = next(item for item in twin.quantizer_bindings if item.quantizer == "sum_quantizer")
    # sum, its two halves, the shuffled, both pooled, the merged and the resized values.
    assert len(shared.outputs) == 2 * 8
    # Of these only the sum, the average and the bilinear values are new numbers.
    assert calls.count("sum_quantizer") == 3
    assert len(calls) < pairs
    assert len(set(calls)) == len({id(twin.graph_module.get_submodule(name)) for name in calls})


def test_parameters_that_kernels_demand_are_marked() -> None:
    twin = build_twin(quantized(convolutional))
    fixed = {name for name, item in twin.quantizers().items() if item.fixed}
    assert fixed == {"gate_quantizer", "probabilities_float_quantizer"}


def test_gradients_pass_the_roundings() -> None:
    twin = build_twin(quantized(convolutional))
    image = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    target = torch.arange(4)
    torch.autograd.backward(-torch.log(twin(image).clamp(min=1e-3))[torch.arange(4), target].sum())
    without = [
        name
        for name, item in twin.named_parameters()
        if item.grad is None or not bool(item.grad.abs().sum() > 0)
    ]
    assert without == []


def test_replaced_quantizers_stay_shared() -> None:
    twin = build_twin(quantized(convolutional))
    before = len(twin.quantizers())
    made: list[FakeQuantize] = []

    def replacement(old: FakeQuantize) -> FakeQuantize:
        limits = (old.low, old.high)
        new = FakeQuantize(old.scale, old.zero_point, limits, axis=old.axis, role=old.role)
        made.append(new)
        return new

    twin.replace_quantizers(replacement)
    assert len(made) == before == len(twin.quantizers())
    stem = twin.graph_module.get_submodule("stem")
    assert isinstance(stem, QuantizedConv2d)
    assert isinstance(stem.bias_quantizer, BiasQuantize)
    assert all(any(source is item for item in made) for source in stem.bias_quantizer.sources)


def test_weights_alone_may_be_quantized() -> None:
    constants = weights({"w": (4, 8), "b": (4,)})
    scale = np.abs(constants["w"]).max(axis=1) / 127
    stored = {
        "integers": np.rint(constants["w"] / scale[:, None]).astype(np.int8),
        "scale": scale.astype(np.float32), "b": constants["b"],
    }  # fmt: skip
    model = make_model(
        """
        g (float[batch, 8] x) => (float[batch, 4] y) {
          w = DequantizeLinear <axis = 0> (integers, scale)
          y = Gemm <transB = 1> (x, w, b)
        }
        """,
        stored,
    )
    assert any(node.op_type == "DequantizeLinear" for node in model.graph)
    twin = build_twin(model)
    feeds = feeds_for(model)
    with ReferenceSession(model, optimization="disabled") as session:
        expected = session.run(feeds)["y"]
    assert difference("y", expected, twin.run(feeds)["y"]).relative <= 1e-5
    (layer,) = twin.graph_module.children()
    assert isinstance(layer, QuantizedLayer)
    assert layer.bias_quantizer is None


def test_a_pair_with_different_parameters_is_refused() -> None:
    model = make_model(
        """
        g (float[batch, 4] x) => (float[batch, 4] y) {
          q = QuantizeLinear (x, one, zero)
          [wrong] y = DequantizeLinear (q, two, zero)
        }
        """,
        {
            "one": np.array(1, np.float32), "two": np.array(2, np.float32),
            "zero": np.array(0, np.int8),
        },
    )  # fmt: skip
    with pytest.raises(UnsupportedGraphError, match="node 'wrong' dequantizes it with another"):
        build_twin(model)


def test_integers_that_are_used_as_such_have_no_gradient() -> None:
    model = make_model(
        """
        g (float[batch, 4] x) => (int8[batch, 4] y) {
          y = QuantizeLinear (x, one, zero)
        }
        """,
        {"one": np.array(0.5, np.float32), "zero": np.array(3, np.int8)},
    )
    x = np.array([[-100.0, -0.25, 0.25, 100.0]], np.float32)
    found = build_twin(model).run({"x": x})["y"]
    assert found.dtype == np.int8
    assert found.tolist() == [[-128, 3, 3, 127]]


def test_print_of_a_quantizer_says_what_it_is() -> None:
    module = FakeQuantize(torch.ones(3), torch.zeros(3), (-127, 127), axis=0, role="weight")
    assert "weight, per channel of axis 0, -127..127" in str(module)


def test_interpreters_of_fx_can_run_the_twin() -> None:
    twin = build_twin(quantized(convolutional))
    image = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found: tuple[Tensor, ...] = fx.Interpreter(twin.graph_module).run(image)
    assert torch.equal(found[0], twin(image))
