"""Arithmetic of several operands, with NumPy's broadcasting."""

from __future__ import annotations

from functools import reduce

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import int_attribute, required_input
from edgekit.targets.coreml.lowering.emitter import Emitter, kind_of
from edgekit.targets.coreml.lowering.registry import Var, lowers

_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul"}


@lowers(*_BINARY, accepts="floats and integers of up to 32 bits")
def lower_binary(e: Emitter, node: ir.Node) -> Var:
    """Sum, difference or product."""
    result = e(_BINARY[node.op_type], x=e.input(node, 0), y=e.input(node, 1))
    return e.wrapped(result, node.outputs[0])


@lowers("Div", accepts="floats and integers of up to 32 bits")
def lower_div(e: Emitter, node: ir.Node) -> Var:
    """A quotient; that of integers is cut towards zero, where MIL's floor_div goes down."""
    x, y = e.input(node, 0), e.input(node, 1)
    if kind_of(x) == "float":
        return e("real_div", x=x, y=y)
    floor = e("floor_div", x=x, y=y)
    rest = e("sub", x=x, y=e("mul", x=floor, y=y))
    inexact = e("not_equal", x=rest, y=np.int32(0))
    negative = e("less", x=floor, y=np.int32(0))
    step = e("cast", x=e("logical_and", x=inexact, y=negative), dtype="int32")
    return e.wrapped(e("add", x=floor, y=step), node.outputs[0])


@lowers("Mod", accepts="floats and integers of up to 32 bits")
def lower_mod(e: Emitter, node: ir.Node) -> Var:
    """The remainder: of the divisor's sign, or with ``fmod`` of the dividend's."""
    x, y = e.input(node, 0), e.input(node, 1)
    if not int_attribute(node, "fmod", 0):
        return e.wrapped(e("mod", x=x, y=y), node.outputs[0])
    rest = e("mod", x=e("abs", x=x), y=e("abs", x=y))
    return e.wrapped(e("mul", x=e("sign", x=x), y=rest), node.outputs[0])


@lowers("Pow", accepts="floats; integers by way of floats")
def lower_pow(e: Emitter, node: ir.Node) -> Var:
    """A power in the type of the base."""
    base, exponent = e.input(node, 0), e.input(node, 1)
    known = e.array(required_input(node, 1))
    if known is not None and known.size == 1 and kind_of(base) == "float":
        number = float(known.reshape(-1)[0])
        if number == 2.0 and known.ndim == 0:
            return e("mul", x=base, y=base)
        if number == 0.5 and known.ndim == 0:
            return e("sqrt", x=base)
    whole = kind_of(base) == "int"
    floats = [
        item if kind_of(item) == "float" else e("cast", x=item, dtype="fp32")
        for item in (base, exponent)
    ]
    result = e("pow", x=floats[0], y=floats[1])
    if whole:
        e.note("a power of integers is computed in float, exact up to 2^24")
        result = e("cast", x=e("round", x=result), dtype="int32")
    return e.wrapped(result, node.outputs[0])


_VARIADIC = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}


@lowers(*_VARIADIC, accepts="floats and integers of up to 32 bits")
def lower_variadic(e: Emitter, node: ir.Node) -> Var:
    """Largest, smallest, sum or mean of any number of tensors."""
    operands = [e.input(node, index) for index in range(len(node.inputs))]
    op = _VARIADIC[node.op_type]
    result = reduce(lambda x, y: e(op, x=x, y=y), operands)
    if node.op_type == "Mean" and len(operands) > 1:
        return e("mul", x=result, y=np.float32(1 / len(operands)))
    return result
