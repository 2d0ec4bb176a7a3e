"""Matrix products."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    optional_input,
    required_input,
    text_attribute,
)
from edgekit.targets.coreml.lowering.einsum import lower_equation
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    kind_of,
    rank_of,
    shape_of,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers


@lowers("MatMul", accepts="floats, and integers by way of floats")
def lower_matmul(e: Emitter, node: ir.Node) -> Var:
    """NumPy's matmul: vectors get an axis that is taken off again."""
    x, y = e.input(node, 0), e.input(node, 1)
    if kind_of(x) == "int":
        raise Refusal("a matrix product of integers", "floats, or Q/DQ nodes around it")
    return matmul(e, x, y)


def matmul(e: Emitter, x: Var, y: Var) -> Var:
    """NumPy's matmul of two float variables."""
    left, right = rank_of(x) == 1, rank_of(y) == 1
    if left:
        x = e("expand_dims", x=x, axes=[0])
    if right:
        y = e("expand_dims", x=y, axes=[-1])
    result = e("matmul", x=x, y=y)
    axes = [-2] * left + [-1] * right
    return e("squeeze", x=result, axes=axes) if axes else result


@lowers("Gemm", accepts="floats")
def lower_gemm(e: Emitter, node: ir.Node) -> Var:
    """``alpha * A B + beta * C``; a linear layer where B and C are constants."""
    alpha, beta = float_attribute(node, "alpha", 1.0), float_attribute(node, "beta", 1.0)
    first, second = int_attribute(node, "transA", 0), int_attribute(node, "transB", 0)
    a, b = e.input(node, 0), e.input(node, 1)
    if kind_of(a) == "int":
        raise Refusal("a matrix product of integers", "floats, or Q/DQ nodes around it")
    bias = e.array(optional_input(node, 2))
    units = shape_of(b)[0] if second else shape_of(b)[1]
    plain = alpha == 1.0 and beta == 1.0 and not first
    fits = optional_input(node, 2) is None or (bias is not None and bias.shape == (units,))
    if plain and second and fits and _is_weight(b):
        return e("linear", x=a, weight=b, bias=e.optional(node, 2))
    if plain and not second and fits and b.val is not None:
        return e("linear", x=a, weight=np.ascontiguousarray(b.val.T), bias=e.optional(node, 2))
    result = e("matmul", x=a, y=b, transpose_x=bool(first), transpose_y=bool(second))
    if alpha != 1.0:
        result = e("mul", x=result, y=np.float32(alpha))
    added = e.optional(node, 2)
    if added is None or beta == 0.0:
        return result
    if beta != 1.0:
        added = e("mul", x=added, y=np.float32(beta))
    return e("add", x=result, y=added)


def _is_weight(variable: Var) -> bool:
    return variable.val is not None or (
        variable.op is not None and variable.op.op_type.startswith("constexpr")
    )


@lowers("Einsum", accepts="one or two operands of fixed sizes, letters without repetition")
def lower_einsum(e: Emitter, node: ir.Node) -> Var:
    """A product and sum over named axes."""
    operands = [e.input(node, index) for index in range(len(node.inputs))]
    if any(kind_of(operand) != "float" for operand in operands):
        raise Refusal("Einsum of integers", "floats")
    return lower_equation(e, text_attribute(node, "equation", ""), operands)


@lowers("Det", "MatMulInteger", "QLinearMatMul", accepts="nothing")
def refuse_other_products(e: Emitter, node: ir.Node) -> Var:
    """Products that MIL has no counterpart for."""
    required_input(node, 0)
    raise Refusal(
        f"MIL has no counterpart of {node.op_type}",
        "MatMul; integers as QuantizeLinear and DequantizeLinear around it",
    )
