"""HardSwish and HardSigmoid, in float and on integers."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Dim
from edgekit.targets.tflite.lowering.node_view import (
    Refusal,
    float_attribute,
    required_input,
)
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
    Parameter,
    Quantization,
    TensorType,
    accumulator_type,
)
from edgekit.targets.tflite.lowering.registry import lowers

UNIT_RANGE = TensorType("int8", Quantization((float(np.float32(1 / 255)),), (-128,)))
"""Parameters with which an int8 tensor spans exactly 0..1."""
_SIXTH = 1.0 / 6.0
_MATRIX = 2
_IMAGE = 4


@lowers("HardSwish", accepts="float32, or quantized of rank 2 or 4", integer=True)
def lower_hard_swish(context: LoweringContext, node: ir.Node) -> None:
    """HardSwish ``x * clip(x/6 + 1/2, 0, 1)`` -> HARD_SWISH.

    On integers XNNPACK has no such operator, and 19 of them would cut MobileNetV3 into as many
    parts; there it is the saturating line of `_saturating_line` and a MUL.
    """
    value, result = required_input(node, 0), node.outputs[0]
    axes, tensor = context.axes(value), context.tensor(value)
    if context.integer and context.type_of(value).dtype == "int8":
        gate = _saturating_line(context, value, (_SIXTH, 0.5), f"{result.name}/gate")
        operator = Operator("MUL", schema.MulOptionsT())
        context.result(result, operator, [tensor, gate], axes)
        return
    operator = Operator("HARD_SWISH", schema.HardSwishOptionsT())
    context.result(result, operator, [tensor], axes)


@lowers("HardSigmoid", accepts="any alpha and beta", integer=True)
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
        if context.type_of(result) != UNIT_RANGE:
            raise Refusal(
                "output parameters that do not span 0..1", "scale 1/255, zero point -128"
            )
        line = _saturating_line(context, value, (alpha, beta), str(result.name))
        context.bind(result, line, axes)
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


def _saturating_line(
    context: LoweringContext, value: ir.Value, line: tuple[float, float], name: str
) -> int:
    """``clip(slope*x + shift, 0, 1)`` of an int8 value, stored like it.

    One depthwise 1x1 convolution, whose int8 output with the range 0..1 saturates at both ends
    as the clip would.

    Raises:
        Refusal: If the value has no int8 quantization, or a rank other than 2 or 4.
    """
    slope, shift = line
    value_type = context.type_of(value)
    stored = tuple(context.shape(value)[axis] for axis in context.axes(value))
    channels = stored[-1] if stored else 0
    if value_type.dtype != "int8" or slope <= 0:
        raise Refusal(f"type {value_type.dtype}", "int8 and a positive slope")
    if len(stored) not in {_MATRIX, _IMAGE} or isinstance(channels, str):
        raise Refusal(f"rank {len(stored)}, quantized", "rank 2 or 4")
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
        UNIT_RANGE,
        f"{name}/line" if len(stored) == _MATRIX else name,
    )
    return context.reshape(made, stored, UNIT_RANGE, name) if len(stored) == _MATRIX else made
