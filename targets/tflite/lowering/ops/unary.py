"""Elementwise operators with one input that TFLite has under another name."""

from __future__ import annotations

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.node_view import Refusal, required_input
from edgekit.targets.tflite.lowering.quantization import Quantization, TensorType
from edgekit.targets.tflite.lowering.registry import lowers

_OPERATORS: dict[str, Operator] = {
    "Abs": Operator("ABS", schema.AbsOptionsT()),
    "Ceil": Operator("CEIL"),
    "Cos": Operator("COS", schema.CosOptionsT()),
    "Exp": Operator("EXP", schema.ExpOptionsT()),
    "Floor": Operator("FLOOR"),
    "Log": Operator("LOG"),
    "Neg": Operator("NEG", schema.NegOptionsT()),
    "Round": Operator("ROUND"),
    "Sigmoid": Operator("LOGISTIC"),
    "Sign": Operator("SIGN", schema.SignOptionsT()),
    "Sin": Operator("SIN"),
    "Sqrt": Operator("SQRT"),
    "Tanh": Operator("TANH"),
}
_NON_NEGATIVE = frozenset({"Abs", "Exp", "Sigmoid", "Sqrt"})


_FIXED_OUTPUT = {
    "Sigmoid": TensorType("int8", Quantization((1 / 256,), (-128,))),
    "Tanh": TensorType("int8", Quantization((1 / 128,), (0,))),
}
"""Output parameters that the integer kernels demand (LiteRT 8-bit quantization spec)."""


@lowers("Sigmoid", "Tanh", accepts="float32 or quantized", integer=True)
@lowers(*(op for op in _OPERATORS if op not in _FIXED_OUTPUT), accepts="float32")
def lower_unary(context: LoweringContext, node: ir.Node) -> None:
    """One ONNX operator -> one TFLite operator of the same meaning, any storage order."""
    value, result = required_input(node, 0), node.outputs[0]
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    if node.op_type in _NON_NEGATIVE:
        context.non_negative.add(result)
    fixed = _FIXED_OUTPUT.get(node.op_type) if context.integer else None
    if fixed is not None and context.type_of(value).dtype != "int8":
        raise Refusal(f"type {context.type_of(value).dtype}", "float32 or int8")
    operator = _OPERATORS[node.op_type]
    context.result(result, operator, [context.tensor(value)], context.axes(value), fixed)


@lowers("Reciprocal", accepts="float32")
def lower_reciprocal(context: LoweringContext, node: ir.Node) -> None:
    """Reciprocal -> DIV of 1 by the value."""
    value = required_input(node, 0)
    one = context.scalar(1.0, "one")
    operator = Operator("DIV", schema.DivOptionsT())
    context.result(node.outputs[0], operator, [one, context.tensor(value)], context.axes(value))


@lowers("Cast", accepts="between the tensor types of TFLite, but not from float to int8/uint8")
def lower_cast(context: LoweringContext, node: ir.Node) -> None:
    """Cast -> CAST, which truncates towards zero like ONNX."""
    value, result = required_input(node, 0), node.outputs[0]
    source, target = context.dtype(value), context.dtype(result)
    options = schema.CastOptionsT()
    options.inDataType = TENSOR_TYPES[source]
    options.outDataType = TENSOR_TYPES[target]
    context.result(result, Operator("CAST", options), [context.tensor(value)], context.axes(value))


@lowers("Identity", "Dropout", accepts="inference mode", integer=True)
def lower_identity(context: LoweringContext, node: ir.Node) -> None:
    """Identity -> nothing: the output is the same tensor."""
    value, result = required_input(node, 0), node.outputs[0]
    if value in context.non_negative:
        context.non_negative.add(result)
    context.bind(result, context.tensor(value), context.axes(value))
