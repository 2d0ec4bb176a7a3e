"""Activations that are operators of their own, where no operator before takes them over."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.fusion import clamp_range
from edgekit.targets.tflite.lowering.node_view import (
    Refusal,
    float_attribute,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.ops.binary import broadcast_operand
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
    Parameter,
    Quantization,
    TensorType,
    accumulator_type,
)
from edgekit.targets.tflite.lowering.registry import lowers

HARD_SIGMOID_OUTPUT = TensorType("int8", Quantization((float(np.float32(1 / 255)),), (-128,)))
"""Parameters with which an int8 tensor spans exactly 0..1."""

_CLAMPS = {
    (0.0, math.inf): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


@lowers("Relu", "Clip", accepts="constant bounds, float32 or quantized", integer=True)
def lower_clamp(context: LoweringContext, node: ir.Node) -> None:
    """Relu, Clip -> RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1, else MAXIMUM and MINIMUM."""
    value, result = required_input(node, 0), node.outputs[0]
    bounds = clamp_range(node)
    if bounds is None:
        raise Refusal("bounds computed at run time", "constant bounds")
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    if bounds[0] >= 0:
        context.non_negative.add(result)
    axes, tensor = context.axes(value), context.tensor(value)
    if bounds in _CLAMPS:
        context.result(result, Operator(_CLAMPS[bounds]), [tensor], axes)
        return
    steps = [
        (name, bound)
        for name, bound in zip(("MAXIMUM", "MINIMUM"), bounds, strict=True)
        if math.isfinite(bound)
    ]
    if not steps:
        context.bind(result, tensor, axes)
        return
    if context.integer:
        raise Refusal(
            f"a quantized clamp to {bounds}", f"clamps to {', '.join(map(str, _CLAMPS))}"
        )
    stored = [context.shape(value)[axis] for axis in axes]
    for position, (name, bound) in enumerate(steps):
        limit = context.scalar(bound, f"{node.name}/{name}")
        operator = Operator(name, schema.MaximumMinimumOptionsT())
        if position == len(steps) - 1:
            context.result(result, operator, [tensor, limit], axes)
        else:
            tensor = context.step(
                operator, [tensor, limit], stored, FLOAT32, f"{result.name}/at_least"
            )


@lowers("HardSwish", accepts="float32", integer=True)
def lower_hard_swish(context: LoweringContext, node: ir.Node) -> None:
    """HardSwish ``x * clip(x/6 + 1/2, 0, 1)`` -> HARD_SWISH."""
    value = required_input(node, 0)
    operator = Operator("HARD_SWISH", schema.HardSwishOptionsT())
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("HardSigmoid", accepts="any alpha and beta", integer=True)
def lower_hard_sigmoid(context: LoweringContext, node: ir.Node) -> None:
    """HardSigmoid ``clip(alpha*x + beta, 0, 1)`` as ``relu6(6*alpha*x + 6*beta) / 6``.

    RELU6 is the only clamp that every kernel fuses; with alpha = 1/6 (PyTorch's form) the
    first multiplication falls away.
    """
    value, result = required_input(node, 0), node.outputs[0]
    context.non_negative.add(result)
    alpha, beta = float_attribute(node, "alpha", 0.2), float_attribute(node, "beta", 0.5)
    if context.integer:
        _lower_integer_hard_sigmoid(context, node, alpha, beta)
        return
    slope, shift = 6.0 * alpha, 6.0 * beta
    axes, tensor = context.axes(value), context.tensor(value)
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
    sixth = context.scalar(1.0 / 6.0, f"{node.name}/sixth")
    context.result(result, Operator("MUL", schema.MulOptionsT()), [tensor, sixth], axes)


def _lower_integer_hard_sigmoid(
    context: LoweringContext, node: ir.Node, alpha: float, beta: float
) -> None:
    """One depthwise 1x1 convolution ``alpha*x + beta`` whose int8 output saturates at 0 and 1."""
    value, result = required_input(node, 0), node.outputs[0]
    result_type, value_type = context.type_of(result), context.type_of(value)
    if result_type != HARD_SIGMOID_OUTPUT or value_type.quantization is None or alpha <= 0:
        raise Refusal("output parameters that do not span 0..1", "scale 1/255, zero point -128")
    axes, tensor = context.axes(value), context.tensor(value)
    stored = tuple(context.shape(value)[axis] for axis in axes)
    image = stored
    channels = stored[-1]
    if len(stored) not in {2, 4} or isinstance(channels, str):
        raise Refusal(f"rank {len(stored)}, quantized", "rank 2 or 4")
    if len(stored) == 2:
        image = (stored[0], 1, 1, channels)
        tensor = context.reshape(tensor, image, value_type, f"{result.name}/image")
    weights_type = TensorType("int8", Quantization((float(np.float32(alpha / 127)),), (0,)))
    bias_type = accumulator_type(value_type, weights_type)
    assert bias_type.quantization is not None
    offset = np.int32(round(beta / bias_type.quantization.scales[0]))
    weights = Parameter(np.full((1, 1, 1, channels), 127, np.int8), weights_type)
    bias = Parameter(np.full(channels, offset, np.int32), bias_type)
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.VALID
    options.strideH = options.strideW = options.depthMultiplier = 1
    options.dilationHFactor = options.dilationWFactor = 1
    operator = Operator("DEPTHWISE_CONV_2D", options)
    inputs = [
        tensor,
        context.weight(weights, f"{node.name}/slope"),
        context.weight(bias, f"{node.name}/shift"),
    ]
    if len(stored) == 4:
        context.result(result, operator, inputs, axes)
        return
    made = context.step(operator, inputs, image, result_type, f"{result.name}/line")
    flat = context.reshape(made, stored, result_type, str(result.name))
    context.bind(result, flat, axes)


@lowers("Gelu", accepts="float32, exact or tanh form", integer=True)
def lower_gelu(context: LoweringContext, node: ir.Node) -> None:
    """Gelu -> GELU, exact (erf) or approximate (tanh)."""
    value = required_input(node, 0)
    options = schema.GeluOptionsT()
    options.approximate = text_attribute(node, "approximate", "none") == "tanh"
    operator = Operator("GELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("LeakyRelu", accepts="float32", integer=True)
def lower_leaky_relu(context: LoweringContext, node: ir.Node) -> None:
    """LeakyRelu -> LEAKY_RELU."""
    value = required_input(node, 0)
    options = schema.LeakyReluOptionsT()
    options.alpha = float_attribute(node, "alpha", 0.01)
    operator = Operator("LEAKY_RELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("Elu", accepts="float32, alpha=1", integer=True)
def lower_elu(context: LoweringContext, node: ir.Node) -> None:
    """Elu -> ELU, which has alpha 1."""
    value = required_input(node, 0)
    if float_attribute(node, "alpha", 1.0) != 1.0:
        raise Refusal(f"alpha={float_attribute(node, 'alpha', 1.0)}", "alpha=1")
    context.result(node.outputs[0], Operator("ELU"), [context.tensor(value)], context.axes(value))


@lowers("PRelu", accepts="float32, a constant slope that broadcasts", integer=True)
def lower_prelu(context: LoweringContext, node: ir.Node) -> None:
    """PRelu -> PRELU with its slope aligned to the stored axes."""
    value, slope = required_input(node, 0), required_input(node, 1)
    context.parameter(slope, "slope")
    axes = context.axes(value)
    tensors = [context.tensor(value), broadcast_operand(context, slope, axes)]
    context.result(node.outputs[0], Operator("PRELU"), tensors, axes)
