"""Softmax and LogSoftmax."""

from __future__ import annotations

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    int_attribute,
    normalized_axis,
    required_input,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import stored_shape
from edgekit.targets.tflite.lowering.quantization import Quantization, TensorType
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.wide_softmax import (
    FIXED,
    kernel_is_precise,
    write_softmax,
)

_FIXED_OUTPUT = {
    ("Softmax", "int8"): TensorType("int8", Quantization((1 / 256,), (-128,))),
    ("LogSoftmax", "int8"): TensorType("int8", Quantization((16 / 256,), (127,))),
    ("Softmax", "int16"): FIXED,
}
"""Output parameters that the integer kernels demand (LiteRT quantization spec)."""


@lowers("Softmax", accepts="any axis", integer=True, int16=True)
@lowers("LogSoftmax", accepts="any axis", integer=True)
def lower_softmax(context: LoweringContext, node: ir.Node) -> None:
    """Softmax over one axis -> SOFTMAX, which normalises the last stored axis."""
    value, result = required_input(node, 0), node.outputs[0]
    axis = normalized_axis(int_attribute(node, "axis", -1), context.rank(value))
    axes = (*(other for other in context.axes(value) if other != axis), axis)
    if node.op_type == "Softmax":
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        operator = Operator("SOFTMAX", options)
        context.non_negative.add(result)
    else:
        operator = Operator("LOG_SOFTMAX", schema.LogSoftmaxOptionsT())
    source = context.type_of(value)
    fixed = _FIXED_OUTPUT.get((node.op_type, source.dtype))
    tensor, stored = context.tensor(value, axes), stored_shape(context.shape(value), axes)
    if source.dtype == "int16" and not kernel_is_precise(source, stored[-1]):
        context.notes.append(
            f"{node.name}: 16-bit SOFTMAX is imprecise over a range above 10 and is written as a "
            "table with int32 sums and quotients"
        )
        context.bind(result, write_softmax(context, tensor, stored, str(result.name)), axes)
        return
    context.result(result, operator, [tensor], axes, fixed)
