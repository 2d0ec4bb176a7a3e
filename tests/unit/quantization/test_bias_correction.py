from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.core.quant import named_scheme
from edgekit.errors import InputError
from edgekit.graph.values import constant_array
from edgekit.quantization.bias_correction import correct_biases, give_biases
from edgekit.quantization.parameters import (
    LayerParameters,
    QuantParameters,
    ValueRange,
    compute_parameters,
)
from edgekit.quantization.place import place
from edgekit.quantization.placement import Placement
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import constant, run


def _coarse(model: ir.Model, placement: Placement) -> QuantParameters:
    """Parameters whose weights are all rounded down, so that outputs shift."""
    ranges = {group.name: ValueRange(-4.0, 4.0) for group in placement.calibrated_groups()}
    found = compute_parameters(model, placement, ranges)
    layers = {}
    for name, layer in found.layers.items():
        integers = (layer.weight.integers // 16) * 16
        layers[name] = LayerParameters(replace(layer.weight, integers=integers), layer.bias)
    return replace(found, layers=layers)


def _bias(model: ir.Model, node: str, index: int = 2) -> npt.NDArray[Any]:
    found = next(item for item in model.graph if item.name == node)
    array = constant_array(found.inputs[index])
    assert array is not None
    return array


def test_correction_is_the_mean_shift_of_each_channel() -> None:
    b = GraphBuilder()
    x = b.relu("act", b.conv("one", b.input("x", "batch", 3, 6, 6), 3, 4, strides=[2, 2]))
    x = b.node("Flatten", "flat", b.node("GlobalAveragePool", "pool", x))
    b.node("Gemm", "two", x, b.random("w", 4, 5), b.random("c", 5))
    model = b.build("two")
    placement = place(model, named_scheme("int8"))
    parameters = _coarse(model, placement)
    random = np.random.default_rng(0)
    feeds = [{"x": random.normal(1.0, 1.0, (size, 3, 6, 6)).astype(np.float32)} for size in (3, 5)]
    corrected = correct_biases(model, placement, parameters, iter(feeds))

    # The same by hand: run each layer with both weights on the float model's inputs.
    inputs = np.concatenate([item["x"] for item in feeds])
    observed = ir.from_proto(ir.to_proto(model))
    values = {value.name: value for node in observed.graph for value in node.outputs}
    observed.graph.outputs.extend([values["flat"], values["one"]])
    float_run = run(observed, {"x": inputs})
    rounded = ir.from_proto(ir.to_proto(observed))
    for layer in placement.layers:
        value = rounded.graph.initializers[layer.weight]
        value.const_value = ir.tensor(parameters.layers[layer.layer].weight.dequantize())
    rounded_run = run(rounded, {"x": inputs})
    shift = (rounded_run["one"] - float_run["one"]).mean(axis=(0, 2, 3))
    np.testing.assert_allclose(_bias(corrected, "one"), _bias(model, "one") - shift, atol=1e-5)
    weights = parameters.layers["two"].weight.dequantize()
    exact = constant(model, "w")
    shift = (float_run["flat"] @ (weights - exact)).mean(axis=0)
    np.testing.assert_allclose(_bias(corrected, "two"), _bias(model, "two") - shift, atol=1e-5)
    assert np.abs(shift).max() > 0.01


def test_layers_of_matrix_products_and_shared_biases() -> None:
    b = GraphBuilder()
    bias = b.random("bias", 6)
    x = b.node(
        "Add", "one.add", b.node("MatMul", "one", b.input("x", 2, 5, 6), b.random("w", 6, 6)), bias
    )
    b.node("Add", "two.add", b.node("MatMul", "two", x, b.random("v", 6, 6)), bias)
    model = b.build("two.add")
    placement = place(model, named_scheme("int8"))
    parameters = _coarse(model, placement)
    feeds = [{"x": np.full((2, 5, 6), 0.5, np.float32)}]
    corrected = correct_biases(model, placement, parameters, feeds)
    exact = constant(model, "w")
    error = parameters.layers["one"].weight.dequantize() - exact
    expected = _bias(model, "one.add", 1) - 0.5 * error.sum(axis=0)
    np.testing.assert_allclose(_bias(corrected, "one.add", 1), expected, atol=1e-5)
    assert not np.allclose(_bias(corrected, "one.add", 1), _bias(corrected, "two.add", 1))
    again = place(corrected, named_scheme("int8"))
    assert [layer.layer for layer in again.layers] == ["one", "two"]


def test_every_layer_can_get_a_bias() -> None:
    b = GraphBuilder()
    x = b.node("Conv", "conv", b.input("x", 1, 4, 6, 6), b.random("w1", 6, 2, 3, 3), group=2)
    x = b.node("ConvTranspose", "up", x, b.random("w2", 6, 4, 2, 2), group=2)
    x = b.node("Flatten", "flat", x)
    x = b.node("Gemm", "one", x, b.random("w3", 200, 3))
    b.node("Gemm", "two", x, b.random("w4", 5, 3), transB=1)
    source = b.build("two")
    result = give_biases(source)
    assert {name: len(_bias(result, name)) for name in ("conv", "up", "one", "two")} == {
        "conv": 6, "up": 8, "one": 3, "two": 5,
    }  # fmt: skip
    feeds = {"x": np.random.default_rng(0).standard_normal((1, 4, 6, 6)).astype(np.float32)}
    np.testing.assert_allclose(
        run(result, feeds)["two"],
        run(source, feeds)["two"],
        rtol=1e-5,
        atol=1e-5,
    )


def test_no_data() -> None:
    b = GraphBuilder()
    b.conv("conv", b.input("x", 1, 3, 4, 4), 3, 2)
    model = b.build("conv")
    placement = place(model, named_scheme("int8"))
    with pytest.raises(InputError, match="No data to correct biases with"):
        correct_biases(model, placement, _coarse(model, placement), [])
