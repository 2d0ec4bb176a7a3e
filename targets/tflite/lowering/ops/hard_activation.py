"""HardSwish and HardSigmoid, in float and on integers."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import float_attribute, required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Dim
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
    Parameter,
    Quantization,
    TensorType,
    accumulator_type,
)
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import quantized_constant
from edgekit.targets.tflite.lowering.table_lookup import lower_function

UNIT_RANGE = TensorType("int8", Quantization((float(np.float32(1 / 255)),), (-128,)))
"""Parameters with which an int8 tensor spans exactly 0..1."""
_INT16_MAX = 32767
"""With its reciprocal as scale, an int16 tensor ends exactly at 1."""
_COARSE_ENOUGH = 0.8 / 255
_UNIT_SCALES = 1 / 256, 1 / 254.5
"""Scales with which the highest of 256 integers stands for the clip at 1: that of 1 and of all
above, rounded, is the highest or beyond it."""
_SIXTH = 1.0 / 6.0
_MATRIX = 2
_IMAGE = 4


@lowers("HardSwish", accepts="float32 or quantized", integer=True, int16=True)
def lower_hard_swish(context: LoweringContext, node: ir.Node) -> None:
    """HardSwish ``x * clip(x/6 + 1/2, 0, 1)`` -> HARD_SWISH.

    On 8-bit integers XNNPACK has no such operator, and 19 of them would cut MobileNetV3 into as
    many parts; there it is the saturating line of `_saturating_line` and a MUL. On 16-bit
    integers LiteRT has none either.
    """
    value, result = required_input(node, 0), node.outputs[0]
    axes, tensor = context.axes(value), context.tensor(value)
    if not context.integer:
        operator = Operator("HARD_SWISH", schema.HardSwishOptionsT())
        context.result(result, operator, [tensor], axes)
        return
    gate = _gate(context, value, (_SIXTH, 0.5), f"{result.name}/gate")
    if gate is None:
        lower_function(context, node, lambda x: x * np.clip(x * _SIXTH + 0.5, 0.0, 1.0))
        return
    context.result(result, Operator("MUL", schema.MulOptionsT()), [tensor, gate], axes)


@lowers("HardSigmoid", accepts="any alpha and beta", integer=True, int16=True)
def lower_hard_sigmoid(context: LoweringContext, node: ir.Node) -> None:
    """HardSigmoid ``clip(alpha*x + beta, 0, 1)`` as ``relu6(6*alpha*x + 6*beta) / 6``.

    RELU6 is the only clamp that every kernel fuses; with alpha = 1/6 (PyTorch's form) the
    first multiplication falls away.
    """
    value, result = required_input(node, 0), node.outputs[0]
    context.non_negative.add(result)
    alpha, beta = float_attribute(node, "alpha", 0.2), float_attribute(node, "beta", 0.5)
    axes, tensor = context.axes(value), context.tensor(value)
    if context.integer:
        finer = _is_finer(context.type_of(result))
        kind = _unit_range(context.type_of(result))
        gate = None if finer else _gate(context, value, (alpha, beta), str(result.name), kind)
        if gate is None:
            lower_function(context, node, lambda x: np.clip(alpha * x + beta, 0.0, 1.0))
        else:
            context.bind(result, gate, axes)
        return
    slope, shift = 6.0 * alpha, 6.0 * beta
    stored = [context.shape(value)[axis] for axis in axes]
    if not math.isclose(slope, 1.0, rel_tol=1e-6):
        operands = [tensor, context.scalar(slope, f"{node.name}/slope")]
        operator = Operator("MUL", schema.MulOptionsT())
        tensor = context.step(operator, operands, stored, FLOAT32, f"{result.name}/scaled")
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    operands = [tensor, context.scalar(shift, f"{node.name}/shift")]
    name = f"{result.name}/clamped"
    tensor = context.step(Operator("ADD", options), operands, stored, FLOAT32, name)
    sixth = context.scalar(_SIXTH, f"{node.name}/sixth")
    context.result(result, Operator("MUL", schema.MulOptionsT()), [tensor, sixth], axes)


def _is_finer(kind: TensorType) -> bool:
    """Whether 8-bit steps are so small that one of 1/255 spans more than one of them."""
    assert kind.quantization is not None
    return kind.dtype == "int8" and kind.quantization.scales[0] < _COARSE_ENOUGH


def _unit_range(kind: TensorType) -> TensorType:
    """An int8 type itself where it ends at 1 as good as exactly, `UNIT_RANGE` otherwise."""
    quantization = kind.quantization
    if kind.dtype != "int8" or quantization is None or quantization.zero_points != (-128,):
        return UNIT_RANGE
    lowest, highest = _UNIT_SCALES
    return kind if lowest <= quantization.scales[0] <= highest else UNIT_RANGE


def _gate(
    context: LoweringContext,
    value: ir.Value,
    line: tuple[float, float],
    name: str,
    kind: TensorType = UNIT_RANGE,
) -> int | None:
    """``clip(slope*x + shift, 0, 1)`` of a quantized value; None where only a table gives it.

    Args:
        context: The lowering.
        value: What is clipped.
        line: Slope and shift.
        name: Name of the tensor.
        kind: Type of an 8-bit result, which ends at 1.
    """
    if line[0] <= 0:
        return None
    if context.type_of(value).dtype == "int16":
        return _saturating_sum(context, value, line, name)
    rank, axes = context.rank(value), context.axes(value)
    if rank not in {_MATRIX, _IMAGE} or isinstance(context.shape(value)[axes[-1]], str):
        return None
    return _saturating_line(context, value, line, name, kind)


def _saturating_sum(
    context: LoweringContext, value: ir.Value, line: tuple[float, float], name: str
) -> int:
    """The clip of 16-bit values: MUL by the slope, ADD of the shift.

    RELU bounds the sum below, the range of its integers above.
    """
    slope, shift = line
    source = context.type_of(value)
    assert source.quantization is not None
    shape = [context.shape(value)[axis] for axis in context.axes(value)]
    factor = Parameter(np.array(1, np.int16), _int16(slope))
    scaled = _int16(source.quantization.scales[0] * slope)
    inputs = [context.tensor(value), context.operand(factor, f"{name}/slope")]
    product = Operator("MUL", schema.MulOptionsT())
    tensor = context.step(product, inputs, shape, scaled, f"{name}/scaled")
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    step = _int16(max(abs(shift), 1.0) / _INT16_MAX)
    inputs = [tensor, context.operand(quantized_constant(np.array(shift), step), f"{name}/shift")]
    return context.step(Operator("ADD", options), inputs, shape, _int16(1 / _INT16_MAX), name)


def _int16(scale: float) -> TensorType:
    return TensorType("int16", Quantization((float(np.float32(scale)),), (0,)))


def _saturating_line(
    context: LoweringContext,
    value: ir.Value,
    line: tuple[float, float],
    name: str,
    kind: TensorType,
) -> int:
    """``clip(slope*x + shift, 0, 1)`` of an int8 value, stored like it.

    One depthwise 1x1 convolution, whose int8 output with the range 0..1 saturates at both ends
    as the clip would.

    Args:
        context: The lowering.
        value: Of rank 2 or 4, its last stored axis static.
        line: Slope, which is positive, and shift.
        name: Name of the tensor.
        kind: Type of the result.
    """
    slope, shift = line
    value_type = context.type_of(value)
    stored = tuple(context.shape(value)[axis] for axis in context.axes(value))
    channels = int(stored[-1])
    image: tuple[Dim, ...] = stored
    tensor = context.tensor(value)
    if len(stored) == _MATRIX:
        image = (stored[0], 1, 1, channels)
        tensor = context.reshape(tensor, image, value_type, f"{name}/image")
    weights_type = TensorType("int8", Quantization((float(np.float32(slope / 127)),), (0,)))
    bias_type = accumulator_type(value_type, weights_type)
    step = bias_type.quantization.scales[0] if bias_type.quantization else 1.0
    weights = Parameter(np.full((1, 1, 1, channels), 127, np.int8), weights_type)
    bias = Parameter(np.full(channels, round(shift / step), np.int32), bias_type)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.depthMultiplier = 1
    options.dilationHFactor = options.dilationWFactor = 1
    inputs = [
        tensor,
        context.weight(weights, f"{name}/slope"),
        context.weight(bias, f"{name}/shift"),
    ]
    made = context.step(
        Operator("DEPTHWISE_CONV_2D", options),
        inputs,
        image,
        kind,
        f"{name}/line" if len(stored) == _MATRIX else name,
    )
    return context.reshape(made, stored, kind, name) if len(stored) == _MATRIX else made
