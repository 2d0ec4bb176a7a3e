"""Concat: CONCATENATION."""

from __future__ import annotations

from math import prod

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal, int_attribute, normalized_axis
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Axes, identity
from edgekit.targets.tflite.lowering.quantization import TensorType
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import quantized_constant, requantized


@lowers("Concat", accepts="any axis", integer=True, int16=True)
def lower_concat(context: LoweringContext, node: ir.Node) -> None:
    """Concat -> CONCATENATION along the stored position of the axis."""
    values = [value for value in node.inputs if value is not None]
    result = node.outputs[0]
    rank = context.rank(result)
    axis = normalized_axis(int_attribute(node, "axis", 0), rank)
    if any(context.rank(value) != rank for value in values):
        raise Refusal("inputs of different ranks", "inputs of one rank")
    axes = common_axes(context, values)
    kinds = {context.type_of(value) for value in values}
    value_type = kinds.pop() if len(kinds) == 1 else context.type_of(result)
    options = schema.ConcatenationOptionsT()
    options.axis = axes.index(axis)
    tensors = [_like_result(context, value, value_type, axes) for value in values]
    if all(value in context.non_negative for value in values):
        context.non_negative.add(result)
    context.result(result, Operator("CONCATENATION", options), tensors, axes, value_type)


def _like_result(context: LoweringContext, value: ir.Value, wanted: TensorType, axes: Axes) -> int:
    """An input with the scale of the result, which the kernel demands."""
    array = context.constant(value)
    if context.integer and array is not None and value not in context.quantized.constants:
        made = quantized_constant(array.transpose(axes), wanted)
        return context.operand(made, str(value.name))
    tensor = context.tensor(value, axes)
    name = f"{context.model.name_of(tensor)}/like_result"
    return requantized(context, tensor, context.model.shape_of(tensor), wanted, name)


def common_axes(context: LoweringContext, values: list[ir.Value]) -> Axes:
    """The storage order for which fewest elements of the values must be moved.

    A value that was transposed for another reader lies in both orders. Of equal orders the one
    is taken for which the last axis of most elements stays.
    """
    sizes = []
    for value in values:
        if context.constant(value) is None:
            orders = {place.axes for place in context.places(value)}
            elements = prod(dim if isinstance(dim, int) else 1 for dim in context.shape(value))
            sizes.append((orders, elements))
    candidates = [context.axes(v) for v in values if context.constant(v) is None]
    candidates += [axes for orders, _ in sizes for axes in sorted(orders)]

    def moved(axes: Axes) -> tuple[int, int]:
        lasts = [({order[-1:] for order in orders}, elements) for orders, elements in sizes]
        return (
            sum(elements for orders, elements in sizes if axes not in orders),
            sum(elements for last, elements in lasts if axes[-1:] not in last),
        )

    return min(candidates, key=moved) if candidates else identity(context.rank(values[0]))
