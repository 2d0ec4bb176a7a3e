"""Conv: CONV_2D and DEPTHWISE_CONV_2D."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    int_attribute,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.accumulator import bias_in_accumulator
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.image import (
    image_shape,
    image_weights,
    resolve_padding,
    spatial_size,
)
from edgekit.targets.tflite.lowering.layout import NHWC
from edgekit.targets.tflite.lowering.padding import Window, read_window
from edgekit.targets.tflite.lowering.quantization import Parameter, accumulator_type
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.sparse_weights import filter_tensor
from edgekit.targets.tflite.lowering.weight_only import layer_weights

_GROUPED_VERSION = 6
_DILATED_DEPTHWISE_VERSION = 2


@lowers(
    "Conv",
    accepts="one or two spatial axes, constant weights and bias, any groups and dilations",
    integer=True,
    int16=True,
)
def lower_conv(context: LoweringContext, node: ir.Node) -> None:
    """Conv [N,C,H,W] * [M,C/g,kh,kw] -> CONV_2D or, with one input channel a group, depthwise.

    With one spatial axis the context shows images of height 1.
    """
    value = required_input(node, 0)
    weights = image_weights(layer_weights(context, required_input(node, 1), "weight", axis=0))
    units = weights.array.shape[0]
    groups = int_attribute(node, "group", 1)
    _, channels, height, width = image_shape(context, value)
    output_size = spatial_size(context, node.outputs[0])
    window = read_window(node, weights.array.shape[2:], (height, width), output_size)
    tensor, padding = resolve_padding(
        context, value, context.tensor(value, NHWC), window, output_size
    )
    activation, result = context.fused_activation(node)
    name = str(required_input(node, 1).name)
    # OHWI for CONV_2D; [1, H, W, M] for depthwise, whose output channel m reads input channel
    # m // multiplier, as in ONNX.
    if groups == channels and groups > 1:
        operator = _depthwise_operator(window, padding, activation, units // channels)
        stored = weights.rearranged(lambda w: w.transpose(1, 2, 3, 0), axis=3)
        weight = context.weight(stored, name)
    else:
        operator = _conv_operator(window, padding, activation, groups)
        stored = weights.rearranged(lambda w: w.transpose(0, 2, 3, 1), axis=0)
        weight = filter_tensor(context, stored, name, groups)
    inputs = [
        tensor,
        weight,
        bias_tensor(context, node, weights, units),
    ]
    context.result(result, operator, inputs, NHWC)


def bias_tensor(context: LoweringContext, node: ir.Node, weights: Parameter, channels: int) -> int:
    """The node's bias (input 2) as a tensor; zeros where it has none, which kernels expect."""
    value = optional_input(node, 2)
    if value is not None:
        bias, name = context.parameter(value, "bias"), str(value.name)
    else:
        tensor_type = accumulator_type(context.type_of(required_input(node, 0)), weights.type)
        bias = Parameter(np.zeros(channels, tensor_type.dtype), tensor_type)
        name = f"{node.name}/zero_bias"
    return context.weight(bias_in_accumulator(context, node, weights, bias), name)


def _conv_operator(window: Window, padding: int, activation: int, groups: int) -> Operator:
    options = schema.Conv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.dilationHFactor, options.dilationWFactor = window.dilations
    options.fusedActivationFunction = activation
    return Operator("CONV_2D", options, _GROUPED_VERSION if groups > 1 else 1)


def _depthwise_operator(
    window: Window, padding: int, activation: int, multiplier: int
) -> Operator:
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.dilationHFactor, options.dilationWFactor = window.dilations
    options.depthMultiplier = multiplier
    options.fusedActivationFunction = activation
    dilated = window.dilations != (1, 1)
    return Operator("DEPTHWISE_CONV_2D", options, _DILATED_DEPTHWISE_VERSION if dilated else 1)
