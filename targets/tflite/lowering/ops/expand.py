"""Expand: BROADCAST_TO."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal, required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import stored_shape
from edgekit.targets.tflite.lowering.ops.binary import broadcast_operand, result_axes
from edgekit.targets.tflite.lowering.registry import lowers

_VERSION = 2


@lowers("Expand", accepts="a static shape", integer=True, int16=True)
def lower_expand(context: LoweringContext, node: ir.Node) -> None:
    """Expand -> BROADCAST_TO the shape that inference found, or nothing where it is the same."""
    value, result = required_input(node, 0), node.outputs[0]
    shape = context.shape(result)
    if any(isinstance(dim, str) for dim in shape):
        raise Refusal("an expansion to a dynamic shape", "a static shape")
    axes = result_axes(context, [value], len(shape))
    tensor = broadcast_operand(context, value, axes)
    if value in context.non_negative:
        context.non_negative.add(result)
    sizes = np.array(stored_shape(shape, axes), np.int32)
    target = context.index_tensor(sizes, f"{node.name}/shape")
    operator = Operator("BROADCAST_TO", schema.BroadcastToOptionsT(), _VERSION)
    context.result(result, operator, [tensor, target], axes, context.type_of(value))
