"""Integers of one scale and type as integers of another, without a float tensor in between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import Array, LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.layout import Dim
from edgekit.targets.tflite.lowering.quantization import Parameter, Quantization, TensorType


def requantized(
    context: LoweringContext, tensor: int, shape: Sequence[Dim], wanted: TensorType, name: str
) -> int:
    """A tensor with the type ``wanted``; the same one where it has that already.

    Args:
        context: The lowering.
        tensor: Floats or integers.
        shape: Its stored shape.
        wanted: Type with its quantization.
        name: Name of the tensor that is written.
    """
    present = context.model.type_of(tensor)
    if present == wanted:
        return tensor
    if present.dtype == "int8" and wanted.dtype == "int16":
        return _widened(context, tensor, shape, wanted, name)
    operator = Operator("QUANTIZE", schema.QuantizeOptionsT())
    return context.step(operator, [tensor], shape, wanted, name)


def quantized_constant(array: Array, kind: TensorType) -> Parameter:
    """Nearest integers of real numbers, saturated, as ONNX's QuantizeLinear.

    Args:
        array: Real numbers; taken as float32.
        kind: Integer type with one scale.
    """
    assert kind.quantization is not None
    limits = np.iinfo(kind.dtype)
    with np.errstate(over="ignore"):
        steps = np.rint(np.asarray(array, np.float32) / np.float32(kind.quantization.scales[0]))
    integers = np.clip(steps + kind.quantization.zero_points[0], limits.min, limits.max)
    return Parameter(integers.astype(kind.dtype), kind)


def _widened(
    context: LoweringContext, tensor: int, shape: Sequence[Dim], wanted: TensorType, name: str
) -> int:
    """int8 to int16, which LiteRT's QUANTIZE refuses: CAST, and ADD of the zero point.

    The cast integers have the int8 scale and a zero point of 0; the ADD takes the true one off
    and gives them the new scale in one rounding. With a zero point of 0 a QUANTIZE does that.
    """
    quantization = context.model.type_of(tensor).quantization
    assert quantization is not None
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = TENSOR_TYPES["int8"], TENSOR_TYPES["int16"]
    cast = TensorType("int16", Quantization(quantization.scales, (0,)))
    zero_point = quantization.zero_points[0]
    direct = zero_point == 0 and cast == wanted
    moved = context.step(
        Operator("CAST", options), [tensor], shape, cast, name if direct else f"{name}/cast"
    )
    if zero_point == 0:
        return requantized(context, moved, shape, wanted, name)
    shift = Parameter(np.array(-zero_point, np.int16), cast)
    inputs = [moved, context.operand(shift, f"{name}/zero_point")]
    return context.step(Operator("ADD", schema.AddOptionsT()), inputs, shape, wanted, name)
