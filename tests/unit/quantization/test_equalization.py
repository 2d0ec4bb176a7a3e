from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.graph.signature import static_shape
from edgekit.quantization.equalization import channel_ranges, equalize
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import constant, run


def _scaled(b: GraphBuilder, name: str, source: str, before: int, after: int) -> str:
    """A 1x1 Conv whose output channels have very different ranges."""
    ranges = 10.0 ** np.linspace(-2, 2, after)
    weights = np.random.default_rng(3).standard_normal((after, before, 1, 1))
    stored = b.constant(f"{name}.weight", weights * ranges[:, None, None, None])
    return b.node("Conv", name, source, stored, b.constant(f"{name}.bias", ranges))


def _run(model: ir.Model) -> npt.NDArray[Any]:
    (value,) = model.graph.inputs
    shape = static_shape(value)
    assert shape is not None
    feeds = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    (result,) = run(model, {value.name or "": feeds}).values()
    return result


def _nodes(model: ir.Model) -> dict[str, ir.Node]:
    return {node.name or "": node for node in model.graph}


def _separable(activation: str = "Relu") -> ir.Model:
    b = GraphBuilder()
    x = _scaled(b, "first", b.input("x", 2, 3, 8, 8), 3, 6)
    x = b.relu("act1", x) if activation == "Relu" else b.relu6("act1", x)
    x = b.relu("act2", b.conv("depthwise", x, 6, 6, group=6))
    x = b.node("MaxPool", "pool", x, kernel_shape=[2, 2])
    b.conv("last", x, 6, 4, 1)
    return b.build("last")


def test_equalized_graph_computes_the_same() -> None:
    source = _separable()
    result = equalize(source)
    assert result.pairs == (("first", "depthwise"), ("depthwise", "last"))
    assert result.notes == ()
    np.testing.assert_allclose(_run(result.model), _run(source), rtol=1e-4, atol=1e-3)


def test_ranges_become_equal() -> None:
    result = equalize(_separable())
    nodes = _nodes(result.model)
    for first, second in result.pairs:
        outputs = channel_ranges(nodes[first], inputs=False)
        inputs = channel_ranges(nodes[second], inputs=True)
        np.testing.assert_allclose(outputs, inputs, rtol=5e-3)


def test_one_pair_gets_the_factors_of_the_paper() -> None:
    b = GraphBuilder()
    x = b.relu("act", _scaled(b, "first", b.input("x", 2, 3, 4, 4), 3, 6))
    b.conv("second", x, 6, 4)
    source = b.build("second")
    result = equalize(source).model
    before = _nodes(source)
    first = channel_ranges(before["first"], inputs=False)
    second = channel_ranges(before["second"], inputs=True)
    factors = np.sqrt(first * second) / second
    weights = [constant(model, "first.weight") for model in (source, result)]
    biases = [constant(model, "first.bias") for model in (source, result)]
    np.testing.assert_allclose(weights[1], weights[0] / factors.reshape(-1, 1, 1, 1), rtol=1e-5)
    np.testing.assert_allclose(biases[1], biases[0] / factors, rtol=1e-5)


def test_dense_layers() -> None:
    b = GraphBuilder()
    x = b.node("Gemm", "one", b.input("x", 2, 5), b.random("w1", 7, 5), b.random("b1", 7),
               transB=1)  # fmt: skip
    b.node("Gemm", "two", b.relu("act", x), b.random("w2", 7, 3), b.random("b2", 3))
    source = b.build("two")
    result = equalize(source)
    assert result.pairs == (("one", "two"),)
    np.testing.assert_allclose(_run(result.model), _run(source), rtol=1e-4, atol=1e-4)


def test_grouped_convolution() -> None:
    b = GraphBuilder()
    x = b.relu("act", _scaled(b, "first", b.input("x", 2, 3, 4, 4), 3, 6))
    b.conv("second", x, 6, 4, group=2)
    source = b.build("second")
    result = equalize(source)
    nodes = _nodes(result.model)
    inputs = channel_ranges(nodes["second"], inputs=True)
    np.testing.assert_allclose(channel_ranges(nodes["first"], inputs=False), inputs, rtol=5e-3)
    np.testing.assert_allclose(_run(result.model), _run(source), rtol=1e-4, atol=1e-3)


def test_clip_between_layers_stays_unless_it_may_become_relu() -> None:
    source = _separable("Clip")
    kept = equalize(source)
    assert kept.pairs == (("depthwise", "last"),)
    assert [(note.where, note.text) for note in kept.notes] == [
        ("first", "Not equalized with 'depthwise': a Clip stands between them")
    ]
    replaced = equalize(source, relu6_as_relu=True)
    assert replaced.pairs == (("first", "depthwise"), ("depthwise", "last"))
    assert _nodes(replaced.model)["act1"].op_type == "Relu"
    np.testing.assert_allclose(
        _run(replaced.model), _run(_separable("Relu")), rtol=1e-4, atol=1e-3
    )


def test_channel_that_computes_nothing_is_left() -> None:
    b = GraphBuilder()
    weights = np.random.default_rng(0).standard_normal((4, 3, 1, 1))
    weights[2] = 0.0
    x = b.node("Conv", "first", b.input("x", 2, 3, 4, 4), b.constant("w", weights))
    b.conv("second", b.relu("act", x), 4, 2)
    source = b.build("second")
    result = equalize(source)
    assert result.pairs
    np.testing.assert_allclose(_run(result.model), _run(source), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("between", ["Sigmoid", "HardSwish"])
def test_activation_that_does_not_scale_separates_layers(between: str) -> None:
    b = GraphBuilder()
    x = b.node(between, "act", b.conv("first", b.input("x", 2, 3, 4, 4), 3, 4))
    b.conv("second", x, 4, 2)
    assert equalize(b.build("second")).pairs == ()


def test_value_with_two_readers_separates_layers() -> None:
    b = GraphBuilder()
    x = b.relu("act", b.conv("first", b.input("x", 2, 3, 4, 4), 3, 4))
    b.node("Add", "sum", x, b.conv("second", x, 4, 4))
    assert equalize(b.build("sum")).pairs == ()


def test_shared_weights_are_not_touched() -> None:
    b = GraphBuilder()
    weight = b.random("w", 3, 3, 1, 1)
    x = b.relu("act", b.node("Conv", "first", b.input("x", 2, 3, 4, 4), weight))
    b.node("Conv", "second", x, weight)
    assert equalize(b.build("second")).pairs == ()
