"""Gather with constant indices."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    normalized_axis,
    required_input,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.registry import lowers


@lowers("Gather", accepts="constant indices, along a static axis", integer=True, int16=True)
def lower_gather(context: LoweringContext, node: ir.Node) -> None:
    """Gather -> GATHER along the stored position of the axis.

    The axes of the indices take its place.
    """
    value, result = required_input(node, 0), node.outputs[0]
    axis = normalized_axis(int_attribute(node, "axis", 0), context.rank(value))
    size = context.shape(value)[axis]
    indices = context.required_constant(required_input(node, 1), "indices")
    if isinstance(size, str):
        raise Refusal("a dynamic axis", "a static axis")
    wrapped = np.where(indices < 0, indices + size, indices)
    if ((wrapped < 0) | (wrapped >= size)).any():
        raise Refusal(f"an index outside an axis of size {size}")
    axes = context.axes(value)
    options = schema.GatherOptionsT()
    options.axis = axes.index(axis)
    table = context.index_tensor(wrapped.astype(np.int32), f"{node.name}/indices")
    added = indices.ndim - 1
    made: list[int] = []
    for stored in axes:
        made += (
            range(axis, axis + indices.ndim)
            if stored == axis
            else [stored + added * (stored > axis)]
        )
    inputs = [context.tensor(value), table]
    operator = Operator("GATHER", options)
    context.result(result, operator, inputs, tuple(made), context.type_of(value))
