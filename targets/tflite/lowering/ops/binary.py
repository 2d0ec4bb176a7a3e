"""Elementwise operators with two or more inputs and broadcasting."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Axes, Dim, identity
from edgekit.targets.tflite.lowering.node_view import Refusal, required_input
from edgekit.targets.tflite.lowering.ops.concat import common_axes
from edgekit.targets.tflite.lowering.registry import lowers

_ARITHMETIC = {
    "Add": ("ADD", schema.AddOptionsT),
    "Sub": ("SUB", schema.SubOptionsT),
    "Mul": ("MUL", schema.MulOptionsT),
    "Div": ("DIV", schema.DivOptionsT),
}
_EXTREMES = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD"}
_SIGN_KEEPING = frozenset({"Add", "Mul", "Sum", "Max"})


@lowers("Add", "Sub", "Mul", accepts="any shapes that broadcast", integer=True)
@lowers("Div", accepts="any shapes that broadcast")
def lower_arithmetic(context: LoweringContext, node: ir.Node) -> None:
    """Add, Sub, Mul, Div -> the operator of that name, with a fused activation."""
    name, options_type = _ARITHMETIC[node.op_type]
    options = options_type()
    values = [required_input(node, 0), required_input(node, 1)]
    if context.dtype(node.outputs[0]) not in {"float32", "int32", "int64"}:
        raise Refusal(f"type {context.dtype(node.outputs[0])}", "float32, int32 and int64")
    activation, result = context.fused_activation(node)
    options.fusedActivationFunction = activation
    keeps_sign = node.op_type in _SIGN_KEEPING
    if keeps_sign and all(_is_non_negative(context, value) for value in values):
        context.non_negative.add(result)
    axes = result_axes(context, values, context.rank(result))
    tensors = [broadcast_operand(context, value, axes) for value in values]
    context.result(result, Operator(name, options), tensors, axes)


@lowers("Max", "Min", "Sum", accepts="any number of inputs that broadcast")
def lower_variadic(context: LoweringContext, node: ir.Node) -> None:
    """Max, Min, Sum of several values -> a chain of MAXIMUM, MINIMUM or ADD."""
    values = [value for value in node.inputs if value is not None]
    result = node.outputs[0]
    axes = result_axes(context, values, context.rank(result))
    if len(values) == 1:
        context.bind(result, context.tensor(values[0], axes), axes)
        return
    name = _EXTREMES[node.op_type]
    options = schema.AddOptionsT() if name == "ADD" else schema.MaximumMinimumOptionsT()
    tensors = [broadcast_operand(context, value, axes) for value in values]
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


@lowers("Pow", accepts="any shapes that broadcast")
def lower_pow(context: LoweringContext, node: ir.Node) -> None:
    """Pow -> MUL for a square, SQRT for a root, else POW."""
    value, exponent = required_input(node, 0), required_input(node, 1)
    result = node.outputs[0]
    constant = context.constant(exponent)
    if (
        constant is not None
        and constant.size == 1
        and context.shape(value) == context.shape(result)
    ):
        axes = context.axes(value)
        tensor = context.tensor(value)
        power = float(constant.reshape(-1)[0])
        if power == 2.0:
            context.result(result, Operator("MUL", schema.MulOptionsT()), [tensor, tensor], axes)
            return
        if power == 0.5:
            context.result(result, Operator("SQRT"), [tensor], axes)
            return
    if context.dtype(exponent) != context.dtype(value):
        raise Refusal(
            f"a base of type {context.dtype(value)} and an exponent of {context.dtype(exponent)}",
            "one type, or the exponents 2 and 0.5",
        )
    axes = result_axes(context, [value, exponent], context.rank(result))
    tensors = [broadcast_operand(context, item, axes) for item in (value, exponent)]
    context.result(result, Operator("POW", schema.PowOptionsT()), tensors, axes)


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
        # Axes of its own stay: they may be what gives the result its rank.
        lead = min(next((i for i, dim in enumerate(stored) if dim != 1), rank), missing)
        aligned = parameter.rearranged(
            lambda array: (
                array.reshape(np.array(full)).transpose(axes).reshape(np.array(stored[lead:], int))
            ),
            axis=0,
        )
        return context.operand(aligned, str(value.name))
    order = tuple(axis - missing for axis in axes if axis >= missing)
    tensor = context.tensor(value, order)
    present = tuple(shape[axis] for axis in order)
    lead = rank - len(present)
    if all(dim == 1 for dim in stored[:lead]) and stored[lead:] == present:
        return tensor
    name = f"{context.model.name_of(tensor)}/aligned"
    return context.reshape(tensor, stored, context.type_of(value), name)


def broadcast_shapes(left: tuple[Dim, ...], right: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Shape of an elementwise result, symbolic dims included."""
    rank = max(len(left), len(right))
    first = (1,) * (rank - len(left)) + left
    second = (1,) * (rank - len(right)) + right
    return tuple(b if a == 1 else a for a, b in zip(first, second, strict=True))


def _is_non_negative(context: LoweringContext, value: ir.Value) -> bool:
    array = context.constant(value)
    return bool((array >= 0).all()) if array is not None else value in context.non_negative
