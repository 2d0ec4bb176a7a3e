"""Elementwise operators with two or more inputs and broadcasting."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal, required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Axes, Dim, identity
from edgekit.targets.tflite.lowering.ops.concat import common_axes
from edgekit.targets.tflite.lowering.quantization import Parameter, TensorType
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import quantized_constant, requantized

_ARITHMETIC = {
    "Add": ("ADD", schema.AddOptionsT),
    "Sub": ("SUB", schema.SubOptionsT),
    "Mul": ("MUL", schema.MulOptionsT),
    "Div": ("DIV", schema.DivOptionsT),
}
_EXTREMES = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD"}
_SIGN_KEEPING = frozenset({"Add", "Mul", "Sum", "Max"})


@lowers("Add", "Sub", "Mul", accepts="any shapes that broadcast", integer=True, int16=True)
def lower_arithmetic(context: LoweringContext, node: ir.Node) -> None:
    """Add, Sub, Mul -> the operator of that name, with a fused activation."""
    values = [required_input(node, 0), required_input(node, 1)]
    axes = result_axes(context, values, context.rank(node.outputs[0]))
    tensors = [broadcast_operand(context, value, axes) for value in values]
    _write(context, node, tensors, axes)


@lowers("Div", accepts="any shapes that broadcast", int16=True)
def lower_div(context: LoweringContext, node: ir.Node) -> None:
    """Div -> DIV, with a fused activation.

    The kernel on 8-bit integers compares the divisor's integer, zero point included, with 0, and
    fails there. The one on 16-bit integers fails at a true 0, which becomes the smallest step.
    """
    values = [required_input(node, 0), required_input(node, 1)]
    axes = result_axes(context, values, context.rank(node.outputs[0]))
    dividend, divisor = (broadcast_operand(context, value, axes) for value in values)
    if context.integer:
        divisor = _without_zero(context, values[1], divisor, f"{node.name}/divisor")
    _write(context, node, [dividend, divisor], axes)


def _write(context: LoweringContext, node: ir.Node, tensors: list[int], axes: Axes) -> None:
    name, options_type = _ARITHMETIC[node.op_type]
    options = options_type()
    if context.dtype(node.outputs[0]) not in {"float32", "int32", "int64"}:
        raise Refusal(f"type {context.dtype(node.outputs[0])}", "float32, int32 and int64")
    activation, result = context.fused_activation(node)
    options.fusedActivationFunction = activation
    values = [value for value in node.inputs if value is not None]
    keeps_sign = node.op_type in _SIGN_KEEPING
    if keeps_sign and all(_is_non_negative(context, value) for value in values):
        context.non_negative.add(result)
    context.result(result, Operator(name, options), tensors, axes)


def _without_zero(context: LoweringContext, value: ir.Value, tensor: int, name: str) -> int:
    """A 16-bit divisor with 1 in place of every 0."""
    kind = context.type_of(value)
    parameter = context.quantized.constants.get(value)
    if parameter is not None:
        if not parameter.array.all():
            raise Refusal("a division by a constant 0", "divisors other than 0")
        return tensor
    shape = context.model.shape_of(tensor)
    one = context.operand(Parameter(np.array(1, kind.dtype), kind), f"{name}/one")
    if value in context.non_negative:
        operator = Operator("MAXIMUM", schema.MaximumMinimumOptionsT())
        return context.step(operator, [tensor, one], shape, kind, name)
    zero = context.operand(Parameter(np.array(0, kind.dtype), kind), f"{name}/zero")
    flag = context.step(
        Operator("EQUAL", schema.EqualOptionsT()),
        [tensor, zero],
        shape,
        TensorType("bool"),
        f"{name}/is_zero",
    )
    select = Operator("SELECT_V2", schema.SelectV2OptionsT())
    return context.step(select, [flag, one, tensor], shape, kind, name)


@lowers("Sum", accepts="any number of inputs that broadcast")
@lowers("Max", "Min", accepts="any number of inputs that broadcast", integer=True, int16=True)
def lower_variadic(context: LoweringContext, node: ir.Node) -> None:
    """Max, Min, Sum of several values -> a chain of MAXIMUM, MINIMUM or ADD."""
    values = [value for value in node.inputs if value is not None]
    result = node.outputs[0]
    axes = result_axes(context, values, context.rank(result))
    tensors = [_like_result(context, value, result, axes) for value in values]
    if len(values) == 1:
        context.bind(result, tensors[0], axes)
        return
    name = _EXTREMES[node.op_type]
    options = schema.AddOptionsT() if name == "ADD" else schema.MaximumMinimumOptionsT()
    shapes = [context.shape(value) for value in values]
    total, shape = tensors[0], shapes[0]
    for position in range(1, len(tensors) - 1):
        shape = broadcast_shapes(shape, shapes[position])
        padded = (1,) * (len(axes) - len(shape)) + shape
        stored = tuple(padded[axis] for axis in axes)
        total = context.step(
            Operator(name, options),
            [total, tensors[position]],
            stored,
            context.type_of(result),
            f"{result.name}/part_{position}",
        )
    context.result(result, Operator(name, options), [total, tensors[-1]], axes)


def _like_result(context: LoweringContext, value: ir.Value, result: ir.Value, axes: Axes) -> int:
    """An operand with the scale of the result, which MAXIMUM and MINIMUM demand.

    Rounding keeps the order of numbers, so the extreme of the rounded is the rounded extreme.
    """
    array = context.constant(value)
    kind = context.type_of(result)
    if not context.integer:
        return broadcast_operand(context, value, axes)
    if array is not None and value not in context.quantized.constants:
        return _constant_operand(context, value, quantized_constant(array, kind), axes)
    tensor = broadcast_operand(context, value, axes)
    name = f"{context.model.name_of(tensor)}/like_{result.name}"
    return requantized(context, tensor, context.model.shape_of(tensor), kind, name)


def result_axes(context: LoweringContext, values: list[ir.Value], rank: int) -> Axes:
    """Storage order of a broadcast result: that of the full-rank activations."""
    full = [v for v in values if context.rank(v) == rank and context.constant(v) is None]
    return common_axes(context, full) if full else identity(rank)


def broadcast_operand(context: LoweringContext, value: ir.Value, axes: Axes) -> int:
    """Tensor of an operand, its axes aligned with a result stored in the order ``axes``.

    TFLite aligns shapes at the end, as ONNX does; after a change of storage order an operand
    of lower rank must have its missing axes written as 1 where they are not in front.
    """
    rank, own = len(axes), context.rank(value)
    missing = rank - own
    shape = context.shape(value)
    full: tuple[Dim, ...] = (1,) * missing + shape
    stored = tuple(full[axis] for axis in axes)
    if context.constant(value) is not None:
        parameter = context.parameter(value, "operand")
        quantization = parameter.type.quantization
        if quantization is not None and quantization.axis is not None:
            raise Refusal("an operand quantized along an axis", "one scale for the operand")
        return _constant_operand(context, value, parameter, axes)
    order = tuple(axis - missing for axis in axes if axis >= missing)
    tensor = context.tensor(value, order)
    present = tuple(shape[axis] for axis in order)
    lead = rank - len(present)
    if all(dim == 1 for dim in stored[:lead]) and stored[lead:] == present:
        return tensor
    name = f"{context.model.name_of(tensor)}/aligned"
    return context.reshape(tensor, stored, context.type_of(value), name)


def _constant_operand(
    context: LoweringContext, value: ir.Value, parameter: Parameter, axes: Axes
) -> int:
    """A constant with its axes aligned with a result stored in the order ``axes``."""
    # As the node sees it, which may have one more axis than the array.
    shape = [dim for dim in context.shape(value) if isinstance(dim, int)]
    full = (*(1,) * (len(axes) - len(shape)), *shape)
    stored = tuple(full[axis] for axis in axes)
    # Axes of its own stay: they may be what gives the result its rank.
    missing = len(axes) - len(shape)
    lead = min(next((i for i, dim in enumerate(stored) if dim != 1), len(axes)), missing)
    aligned = parameter.rearranged(
        lambda array: array.reshape(full).transpose(axes).reshape(stored[lead:]), axis=0
    )
    return context.operand(aligned, str(value.name))


def broadcast_shapes(left: tuple[Dim, ...], right: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Shape of an elementwise result, symbolic dims included."""
    rank = max(len(left), len(right))
    first = (1,) * (rank - len(left)) + left
    second = (1,) * (rank - len(right)) + right
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))


def _is_non_negative(context: LoweringContext, value: ir.Value) -> bool:
    array = context.constant(value)
    return bool((array >= 0).all()) if array is not None else value in context.non_negative
