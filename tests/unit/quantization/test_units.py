from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.core.quant import QuantConstraints
from edgekit.quantization.units import Unit, find_units
from tests.unit.quantization.graph_builder import GraphBuilder


def _units(model: ir.Model) -> dict[str, Unit]:
    return {unit.name: unit for unit in find_units(model.graph, QuantConstraints())}


def _parts(model: ir.Model) -> list[tuple[str, ...]]:
    return [tuple(node.name or "" for node in unit.nodes) for unit in _units(model).values()]


def test_activation_belongs_to_the_kernel_before_it() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 3, 8, 8)
    b.relu6("act2", b.conv("conv2", b.relu("act1", b.conv("conv1", x, 3, 4)), 4, 4))
    assert _parts(b.build("act2")) == [("conv1", "act1"), ("conv2", "act2")]


def test_activation_with_another_range_stands_alone() -> None:
    b = GraphBuilder()
    conv = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.node("Clip", "act", conv, b.constant("low", 0.0), b.constant("high", 4.0))
    assert _parts(b.build("act")) == [("conv",), ("act",)]


def test_activation_stands_alone_where_the_result_has_another_reader() -> None:
    b = GraphBuilder()
    conv = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.node("Add", "sum", b.relu("act", conv), conv)
    assert _parts(b.build("sum")) == [("conv",), ("act",), ("sum",)]


def test_activation_stands_alone_where_the_result_is_an_output() -> None:
    b = GraphBuilder()
    conv = b.conv("conv", b.input("x", 1, 3, 8, 8), 3, 4)
    b.relu("act", conv)
    assert _parts(b.build("conv", "act")) == [("conv",), ("act",)]


def test_matrix_product_takes_its_bias_and_activation() -> None:
    b = GraphBuilder()
    product = b.node("MatMul", "product", b.input("x", 2, 5, 8), b.random("w", 8, 6))
    b.relu("act", b.node("Add", "biased", b.random("bias", 6), product))
    unit = _units(b.build("act"))["product"]
    assert [node.name for node in unit.nodes] == ["product", "biased", "act"]
    assert unit.bias is not None
    assert unit.bias.name == "bias"
    assert unit.weight_axis == 1


def test_addend_of_another_shape_is_no_bias() -> None:
    b = GraphBuilder()
    product = b.node("MatMul", "product", b.input("x", 2, 5, 8), b.random("w", 8, 6))
    b.node("Add", "sum", product, b.random("position", 5, 6))
    assert _parts(b.build("sum")) == [("product",), ("sum",)]


def test_product_of_two_activations_has_no_weights_and_fuses_nothing() -> None:
    b = GraphBuilder()
    product = b.node("MatMul", "product", b.input("x", 2, 5, 8), b.input("y", 2, 8, 5))
    b.relu("act", product)
    units = _units(b.build("act"))
    assert list(units) == ["product", "act"]
    assert units["product"].weight is None
    assert [value.name for _, value in units["product"].operands()] == ["x", "y"]


def test_operands_leave_out_shapes_and_indices() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 4, 6)
    b.node("Reshape", "flat", x, b.constant("shape", np.array([1, 24])))
    unit = _units(b.build("flat"))["flat"]
    assert [value.name for _, value in unit.operands()] == ["x"]
