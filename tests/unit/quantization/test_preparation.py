from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import constant_array
from edgekit.quantization.preparation import prepare
from edgekit.quantization.preparation.divide_as_multiply import DivideAsMultiply
from edgekit.quantization.preparation.plain_gemm import PlainGemm
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import run


def _same(before: ir.Model, after: ir.Model, *shape: int) -> None:
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    (expected,) = run(before, feeds).values()
    (result,) = run(after, feeds).values()
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_division_by_a_constant_becomes_multiplication() -> None:
    b = GraphBuilder()
    b.node("Div", "div", b.input("x", 2, 3), b.constant("c", np.array([2.0, 3.0, -7.0])))
    source = b.build("div")
    result = prepare(source)
    assert [node.op_type for node in result.graph] == ["Mul"]
    assert result.graph.outputs[0].name == "div"
    assert [node.op_type for node in source.graph] == ["Div"]
    _same(source, result, 2, 3)


def test_division_by_zero_or_by_a_value_stays() -> None:
    b = GraphBuilder()
    x = b.input("x", 2, 3)
    y = b.node("Div", "zero", x, b.constant("c", np.array([1.0, 0.0, 2.0])))
    b.node("Div", "ratio", b.constant("one", 1.0), b.node("Add", "sum", x, y))
    model = b.build("ratio")
    rewrite = DivideAsMultiply()
    assert not rewrite(model).modified
    assert [(note.where, note.text) for note in rewrite.notes] == [
        ("zero", "divides by a constant that has no finite reciprocal")
    ]


def test_gemm_coefficients_move_into_its_constants() -> None:
    b = GraphBuilder()
    x = b.node("Gemm", "one", b.input("x", 2, 3), b.random("w", 3, 4), b.random("c", 1, 4),
               alpha=0.5, beta=3.0)  # fmt: skip
    b.node("Gemm", "two", x, b.random("v", 5, 4), b.constant("d", 2.0), transB=1, beta=0.5)
    source = b.build("two")
    result = prepare(source)
    one, two = result.graph
    assert not {"alpha", "beta"} & {*one.attributes, *two.attributes}
    for node, width in ((one, 4), (two, 5)):
        bias = constant_array(node.inputs[2])
        assert bias is not None
        assert bias.shape == (width,)
    assert len(result.graph.initializers) == 4
    _same(source, result, 2, 3)


def test_gemm_with_an_addend_that_is_no_bias_stays() -> None:
    b = GraphBuilder()
    x = b.input("x", 2, 3)
    b.node("Gemm", "rows", x, b.random("w", 3, 4), b.random("c", 2, 1), beta=3.0)
    b.node("Gemm", "free", x, b.random("v", 3, 4), b.input("y", 1, 4))
    model = b.build("rows", "free")
    rewrite = PlainGemm()
    assert not rewrite(model).modified
    assert [note.where for note in rewrite.notes] == ["free"]
