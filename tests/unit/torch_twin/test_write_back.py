"""Trained weights and scales in the ONNX graph compute what the twin computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from edgekit.core.quant import named_scheme
from edgekit.errors import InternalError, UnsupportedError
from edgekit.graph.equivalence import difference, random_feeds
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import TorchTwin, build_twin, write_back
from edgekit.graph.values import Array
from edgekit.quantization.ptq import quantize_ptq
from tests.qdq_graphs import insert_qdq
from tests.twin_graphs import convolutional, make_model, recurrent, transformer, weights


def feeds_for(model: ir.Model) -> dict[str, Array]:
    with ReferenceSession(model) as session:
        return random_feeds(session.signature.inputs, seed=0, batch=3)


def minmax(model: ir.Model) -> ir.Model:
    return insert_qdq(model, feeds_for(model))


def scheme(name: str) -> Callable[[ir.Model], ir.Model]:
    def quantize(model: ir.Model) -> ir.Model:
        feeds = feeds_for(model)
        return quantize_ptq(model, lambda: iter([feeds]), named_scheme(name)).model

    return quantize


def train_at_random(twin: TorchTwin) -> None:
    """Changes all weights and learned scales, as if they had been trained."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=generator))
        for index, quantizer in enumerate(twin.quantizers().values()):
            if not quantizer.fixed:
                quantizer.scale.mul_(1 + 0.01 * (index % 7))
                if quantizer.role == "activation":
                    quantizer.zero_point.add_(index % 3).clamp_(-128, 127)


def initializers(model: ir.Model) -> dict[str, Array]:
    found = {}
    for name, value in model.graph.initializers.items():
        assert value.const_value is not None
        found[name] = value.const_value.numpy()
    return found


FLOAT = [convolutional, transformer, recurrent]
QUANTIZED = [
    (convolutional, minmax),
    (transformer, minmax),
    (convolutional, scheme("int8")),
    (transformer, scheme("int8")),
    (convolutional, scheme("int8-weights")),
    (transformer, scheme("int4-weights")),
    (transformer, scheme("int16x8")),
]
IDS = [
    "conv", "vit", "conv-int8", "vit-int8", "conv-int8-weights", "vit-int4-weights",
    "vit-int16x8",
]  # fmt: skip


@pytest.mark.parametrize("make", FLOAT)
def test_without_training_nothing_changes(make: Callable[[], ir.Model]) -> None:
    model = make()
    back = write_back(build_twin(model), model)
    assert ir.to_proto(back).SerializeToString(deterministic=True) == ir.to_proto(
        model
    ).SerializeToString(deterministic=True)


@pytest.mark.parametrize(("make", "quantize"), QUANTIZED, ids=IDS)
def test_without_training_no_integer_changes(
    make: Callable[[], ir.Model], quantize: Callable[[ir.Model], ir.Model]
) -> None:
    model = quantize(make())
    before = initializers(model)
    after = initializers(write_back(build_twin(model), model))
    assert before.keys() == after.keys()
    for name, array in before.items():
        assert after[name].dtype == array.dtype
        assert after[name].shape == array.shape
        assert np.array_equal(after[name], array), name


@pytest.mark.parametrize("make", FLOAT)
def test_trained_float_weights_reach_the_runtime(make: Callable[[], ir.Model]) -> None:
    model = make()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    twin = build_twin(model)
    train_at_random(twin)
    back = write_back(twin, model)
    feeds = feeds_for(model)
    with ReferenceSession(back, optimization="disabled") as session:
        expected = session.run(feeds)
    with ReferenceSession(model, optimization="disabled") as session:
        untrained = session.run(feeds)
    found = twin.run(feeds)
    for name, array in expected.items():
        assert difference(name, array, found[name]).relative <= 1e-5
        assert difference(name, array, untrained[name]).relative > 1e-3
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(("make", "quantize"), QUANTIZED, ids=IDS)
def test_trained_integers_and_scales_reach_the_runtime(
    make: Callable[[], ir.Model], quantize: Callable[[ir.Model], ir.Model]
) -> None:
    model = quantize(make())
    twin = build_twin(model)
    train_at_random(twin)
    back = write_back(twin, model)
    onnx.checker.check_model(ir.to_proto(back), full_check=True)
    feeds = feeds_for(model)
    with ReferenceSession(back, optimization="disabled") as session:
        expected = session.run(feeds)
    found = twin.run(feeds)
    for name, array in expected.items():
        # One step of 8 bits is 1/255 of the range.
        assert difference(name, array, found[name]).relative <= 1.01 / 255
    assert [node.name for node in back.graph] == [node.name for node in model.graph]
    # What is written is what a twin of the result holds.
    again = build_twin(back)
    for name, quantizer in twin.quantizers().items():
        other = again.quantizers()[name]
        torch.testing.assert_close(other.scale, quantizer.scale, rtol=0, atol=0)
        torch.testing.assert_close(other.zero_point, quantizer.zero_point, rtol=0, atol=0)


def test_quantizers_that_grew_apart_get_initializers_of_their_own() -> None:
    model = make_model(
        """
        g (float[batch, 4] x) => (float[batch, 4] y) {
          q = QuantizeLinear (x, scale, zero)
          d = DequantizeLinear (q, scale, zero)
          [act] a = Relu (d)
          q2 = QuantizeLinear (a, scale, zero)
          y = DequantizeLinear (q2, scale, zero)
        }
        """,
        {"scale": np.array(0.5, np.float32), "zero": np.array(3, np.int8)},
    )
    twin = build_twin(model)
    first, second = twin.quantizers().values()
    with torch.no_grad():
        second.scale.fill_(0.25)
        second.zero_point.fill_(-7)
    back = write_back(twin, model)
    assert float(first.scale) == 0.5
    scales = {
        node.outputs[0].name: float(node.inputs[1].const_value.numpy())
        for node in back.graph
        if node.op_type != "Relu" and node.inputs[1] is not None and node.inputs[1].const_value
    }
    assert scales == {"q": 0.5, "d": 0.5, "q2": 0.25, "y": 0.25}
    x = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)
    with ReferenceSession(back, optimization="disabled") as session:
        expected = session.run({"x": x})["y"]
    assert np.array_equal(expected, twin.run({"x": x})["y"])


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = convolutional()
    twin = build_twin(model)
    with torch.no_grad():
        next(twin.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(UnsupportedError, match=r"stem\.weight of the twin holds NaN or infinity"):
        write_back(twin, model)


def test_another_graph_is_refused() -> None:
    twin = build_twin(convolutional())
    with pytest.raises(InternalError, match="built from another graph: there is no initializer"):
        write_back(twin, transformer())
    text = """
    g (float[batch, 4] x) => (float[batch, 3] y) {
      y = Gemm <transB = 1> (x, w)
    }
    """
    one = build_twin(make_model(text, weights({"w": (3, 4)})))
    other = make_model(text.replace("3] y", "5] y"), weights({"w": (5, 4)}))
    with pytest.raises(InternalError, match=r"'w' has shape \[5, 4\] here and \[3, 4\] there"):
        write_back(one, other)
