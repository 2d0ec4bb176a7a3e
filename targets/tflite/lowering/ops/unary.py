"""Elementwise operators with one input that TFLite has under another name."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal, optional_input, required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.interpolation import Function
from edgekit.targets.tflite.lowering.quantization import Parameter, Quantization, TensorType
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.table_lookup import lower_function

_OPERATORS: dict[str, Operator] = {
    "Abs": Operator("ABS", schema.AbsOptionsT()),
    "Ceil": Operator("CEIL"),
    "Cos": Operator("COS", schema.CosOptionsT()),
    "Exp": Operator("EXP", schema.ExpOptionsT()),
    "Floor": Operator("FLOOR"),
    "Log": Operator("LOG"),
    "Round": Operator("ROUND"),
    "Sigmoid": Operator("LOGISTIC"),
    "Sign": Operator("SIGN", schema.SignOptionsT()),
    "Sin": Operator("SIN"),
    "Tanh": Operator("TANH"),
}
_NON_NEGATIVE = frozenset({"Abs", "Exp", "Sigmoid"})


_FUNCTIONS: dict[str, Function] = {
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Reciprocal": np.reciprocal,
    "Round": np.rint,
    "Sigmoid": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "Sign": np.sign,
    "Sin": np.sin,
    "Tanh": np.tanh,
}
_INTEGER_KERNELS = {"int8": frozenset({"Abs", "Exp", "Log"}), "int16": frozenset({"Abs"})}
"""Operators with an integer kernel for any scale; for the others a table holds the results."""
_INTERPOLATING = frozenset({"Exp", "Log"})
_FIXED_16 = TensorType("int16", Quantization((1 / 32768,), (0,)))
_FIXED_OUTPUT = {
    "Sigmoid": (TensorType("int8", Quantization((1 / 256,), (-128,))), _FIXED_16),
    "Tanh": (TensorType("int8", Quantization((1 / 128,), (0,))), _FIXED_16),
}
"""Output parameters that the integer kernels demand (LiteRT quantization spec)."""
_NEARLY = 1.1e-3
_OTHER_FORMULAS = {"Sigmoid": (-12,), "Tanh": (-12, -11)}
"""Binary logarithm of scales for which a 16-bit kernel has formulas of its own."""


@lowers(*_OPERATORS, accepts="float32 or quantized", integer=True, int16=True)
def lower_unary(context: LoweringContext, node: ir.Node) -> None:
    """One ONNX operator -> one TFLite operator of the same meaning, any storage order."""
    value, result = required_input(node, 0), node.outputs[0]
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    # Between two points a 16-bit kernel may give -1 for a small number.
    wide = context.type_of(value).dtype == "int16"
    if node.op_type in _NON_NEGATIVE and not (wide and node.op_type in _INTERPOLATING):
        context.non_negative.add(result)
    operator = _OPERATORS[node.op_type]
    kinds = context.type_of(value), context.type_of(result)
    if context.integer and not _has_kernel(node, *kinds):
        interpolating = operator if node.op_type in _INTERPOLATING else None
        lower_function(context, node, _FUNCTIONS[node.op_type], interpolating)
        return
    context.result(result, operator, [context.tensor(value)], context.axes(value))


def _has_kernel(node: ir.Node, read: TensorType, made: TensorType) -> bool:
    """Whether an integer kernel gives the result with these parameters."""
    if node.op_type in _FIXED_OUTPUT:
        return made in _FIXED_OUTPUT[node.op_type] and not _is_rounded_scale(node, read)
    return node.op_type in _INTEGER_KERNELS[made.dtype]


def _is_rounded_scale(node: ir.Node, read: TensorType) -> bool:
    """Whether the 16-bit kernel takes the scale for a power of two that it only is nearly.

    There it computes by other formulas, and is 6 to 20 steps off instead of 1 to 3.
    """
    assert read.quantization is not None
    exponent = math.log2(read.quantization.scales[0])
    near = abs(exponent - round(exponent)) < _NEARLY
    return read.dtype == "int16" and near and round(exponent) in _OTHER_FORMULAS[node.op_type]


@lowers("Neg", accepts="float32 or quantized", integer=True, int16=True)
def lower_negative(context: LoweringContext, node: ir.Node) -> None:
    """Neg -> NEG, on integers MUL by -1, for want of a kernel."""
    value, result = required_input(node, 0), node.outputs[0]
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    axes, inputs = context.axes(value), [context.tensor(value)]
    if not context.integer:
        context.result(result, Operator("NEG", schema.NegOptionsT()), inputs, axes)
        return
    kind = TensorType(context.type_of(value).dtype, Quantization((1.0,), (0,)))
    inputs.append(context.operand(Parameter(np.array(-1, kind.dtype), kind), "minus_one"))
    context.result(result, Operator("MUL", schema.MulOptionsT()), inputs, axes)


@lowers("Reciprocal", accepts="float32 or quantized", integer=True, int16=True)
def lower_reciprocal(context: LoweringContext, node: ir.Node) -> None:
    """Reciprocal -> DIV of 1 by the value; on integers a table.

    The integer DIV of LiteRT fails at a divisor of 0, which any small number may become.
    """
    if context.integer:
        lower_function(context, node, _FUNCTIONS["Reciprocal"])
        return
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


@lowers("Identity", "Dropout", accepts="inference mode", integer=True, int16=True)
def lower_identity(context: LoweringContext, node: ir.Node) -> None:
    """Identity -> nothing: the output is the same tensor."""
    value, result = required_input(node, 0), node.outputs[0]
    training = optional_input(node, 2) if node.op_type == "Dropout" else None
    flag = np.array(False) if training is None else context.constant(training)
    if flag is None or flag.any():
        raise Refusal("Dropout in training mode", "training_mode absent or constantly false")
    if value in context.non_negative:
        context.non_negative.add(result)
    context.bind(result, context.tensor(value), context.axes(value))
