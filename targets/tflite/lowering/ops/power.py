"""Powers and square roots."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal, required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.interpolation import Function
from edgekit.targets.tflite.lowering.ops.binary import broadcast_operand, result_axes
from edgekit.targets.tflite.lowering.quantization import (
    Parameter,
    Quantization,
    TensorType,
    is_never_negative,
)
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import quantized_constant
from edgekit.targets.tflite.lowering.table_lookup import lower_function

_SQUARE, _ROOT, _INVERSE_ROOT = 2.0, 0.5, -0.5
_HIGHEST = 2**15 - 1
_TOLERATED_STEPS = 6
"""Error, in steps of 65,536, up to which DIV and SQRT are preferred to a table of 128 KB."""


@lowers(
    "Pow",
    accepts="any shapes that broadcast; quantized with a constant exponent",
    integer=True,
    int16=True,
)
def lower_pow(context: LoweringContext, node: ir.Node) -> None:
    """Pow -> MUL for a square, SQRT or RSQRT for a root, else POW; on integers a table."""
    value, exponent = required_input(node, 0), required_input(node, 1)
    result = node.outputs[0]
    constant = context.constant(exponent)
    same = context.shape(value) == context.shape(result)
    power = float(constant.reshape(-1)[0]) if constant is not None and constant.size == 1 else None
    if power == _SQUARE and same:
        axes, tensor = context.axes(value), context.tensor(value)
        context.non_negative.add(result)
        context.result(result, Operator("MUL", schema.MulOptionsT()), [tensor, tensor], axes)
        return
    if power == _ROOT and same:
        lower_root(context, node)
        return
    if power == _INVERSE_ROOT and same:
        _lower_inverse_root(context, node)
        return
    if power is not None and same and context.integer:
        lower_function(context, node, _powers(power))
        return
    context.compute_in_float("its exponent is not one constant number")
    if context.dtype(exponent) != context.dtype(value):
        raise Refusal(
            f"a base of type {context.dtype(value)} and an exponent of {context.dtype(exponent)}",
            "one type, or the exponents 2, 0.5 and -0.5",
        )
    axes = result_axes(context, [value, exponent], context.rank(result))
    tensors = [broadcast_operand(context, item, axes) for item in (value, exponent)]
    context.result(result, Operator("POW", schema.PowOptionsT()), tensors, axes)


@lowers("Sqrt", accepts="float32 or quantized", integer=True, int16=True)
def lower_root(context: LoweringContext, node: ir.Node) -> None:
    """Sqrt -> SQRT.

    LiteRT's integer kernels fail at a negative integer and round down: half a step on average,
    which matters with 8 bits alone, where a table takes its place.
    """
    value, result = required_input(node, 0), node.outputs[0]
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    context.non_negative.add(result)
    dtype = context.type_of(value).dtype
    if dtype == "int8":
        lower_function(context, node, np.sqrt)
        return
    axes, tensor = context.axes(value), context.tensor(value)
    if dtype == "int16" and value not in context.non_negative:
        tensor = _at_least(context, value, 0, f"{result.name}/not_negative")
    context.result(result, Operator("SQRT"), [tensor], axes)


def _lower_inverse_root(context: LoweringContext, node: ir.Node) -> None:
    """``x ** -0.5`` -> RSQRT; with 16 bits, where that is thousands of steps off, DIV and SQRT."""
    value, result = required_input(node, 0), node.outputs[0]
    context.non_negative.add(result)
    source, target = context.type_of(value), context.type_of(result)
    axes, tensor = context.axes(value), context.tensor(value)
    if source.dtype != "int16":
        if context.integer and not is_never_negative(source):
            # RSQRT fails at a negative integer.
            lower_function(context, node, _powers(_INVERSE_ROOT))
            return
        context.result(result, Operator("RSQRT"), [tensor], axes)
        return
    assert target.quantization is not None
    largest = target.quantization.scales[0] * _HIGHEST
    quotient = _int16(largest**2 / _HIGHEST)
    if _steps_off(source, quotient, target) > _TOLERATED_STEPS:
        lower_function(context, node, _powers(_INVERSE_ROOT))
        return
    stored = [context.shape(value)[axis] for axis in axes]
    positive = _at_least(context, value, 1, f"{result.name}/positive")
    one = context.operand(Parameter(np.array(1, np.int16), _int16(1.0)), "int16/one")
    operator = Operator("DIV", schema.DivOptionsT())
    inputs = [one, positive]
    inverse = context.step(operator, inputs, stored, quotient, f"{result.name}/inverse")
    context.result(result, Operator("SQRT"), [inverse], axes)


def _steps_off(source: TensorType, quotient: TensorType, target: TensorType) -> int:
    """Largest error of ``sqrt(1 / x)`` with a rounded quotient, in steps of the result."""
    assert source.quantization is not None
    assert quotient.quantization is not None
    assert target.quantization is not None
    values = np.arange(1, _HIGHEST + 1) * source.quantization.scales[0]
    exact = quantized_constant(values**_INVERSE_ROOT, target).array.astype(np.int64)
    inverse = quantized_constant(1 / values, quotient).array * quotient.quantization.scales[0]
    roots = np.floor(np.sqrt(inverse) / target.quantization.scales[0])
    return int(np.abs(np.minimum(roots, _HIGHEST) - exact).max())


def _at_least(context: LoweringContext, value: ir.Value, least: int, name: str) -> int:
    kind = context.type_of(value)
    bound = context.operand(Parameter(np.array(least, kind.dtype), kind), f"{name}/bound")
    shape = [context.shape(value)[axis] for axis in context.axes(value)]
    operator = Operator("MAXIMUM", schema.MaximumMinimumOptionsT())
    return context.step(operator, [context.tensor(value), bound], shape, kind, name)


def _powers(exponent: float) -> Function:
    return lambda base: np.power(base, exponent)


def _int16(scale: float) -> TensorType:
    return TensorType("int16", Quantization((float(np.float32(scale)),), (0,)))
