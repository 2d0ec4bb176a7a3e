"""ConvTranspose: TRANSPOSE_CONV."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.context import Array, LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.image import image_shape, image_weights, spatial_size
from edgekit.targets.tflite.lowering.layout import NHWC, Dim
from edgekit.targets.tflite.lowering.ops.conv import bias_tensor
from edgekit.targets.tflite.lowering.padding import image_pads, image_pair
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.weight_only import layer_weights

_BIAS_VERSION = 3
_ACTIVATION_VERSION = 4


@lowers(
    "ConvTranspose",
    accepts="one or two spatial axes, constant weights and bias, explicit pads, a static batch",
    integer=True,
    int16=True,
)
def lower_conv_transpose(context: LoweringContext, node: ir.Node) -> None:
    """ConvTranspose [N,C,H,W] * [C,M/g,kh,kw] -> TRANSPOSE_CONV.

    TFLite knows SAME (output ``input * stride``, the odd element cropped at the end) and
    VALID (nothing cropped). Any other cropping is VALID with a SLICE behind it.
    """
    value = required_input(node, 0)
    parameter = image_weights(layer_weights(context, required_input(node, 1), "weight", axis=1))
    groups = int_attribute(node, "group", 1)
    if groups > 1 and parameter.type.quantization is not None:
        raise Refusal("a quantized transposed convolution with groups", "group=1")
    weights = _ungrouped(_dilated(parameter.array, image_pair(node, "dilations")), groups)
    batch, _, height, width = image_shape(context, value)
    if isinstance(batch, str):
        raise Refusal("the batch is dynamic, but TRANSPOSE_CONV needs its output shape", "batch 1")
    strides = image_pair(node, "strides")
    output_size = spatial_size(context, node.outputs[0])
    kernel = weights.shape[2:]
    full = tuple((n - 1) * s + k for n, s, k in zip((height, width), strides, kernel, strict=True))
    begin = _cropping(node, full, output_size)
    end = tuple(f - b - o for f, b, o in zip(full, begin, output_size, strict=True))
    same = all(
        output_size[i] == (height, width)[i] * strides[i]
        and begin[i] == max(0, kernel[i] - strides[i]) // 2
        and kernel[i] >= strides[i]
        for i in range(2)
    )
    exact = not any(begin) and not any(end)
    # [C, M, H, W] -> OHWI; the sliced axis of the scales is M, ONNX's axis 1.
    stored = parameter.rearranged(lambda _: weights.transpose(1, 2, 3, 0), axis=0)
    padding = schema.Padding.SAME if same and not exact else schema.Padding.VALID
    activation, result = context.fused_activation(node)
    shape = (batch, *(output_size if same else full), weights.shape[1])
    inputs = [
        context.index_tensor(np.array(shape, np.int32), f"{node.name}/output_shape"),
        context.weight(stored, str(required_input(node, 1).name)),
        context.tensor(value, NHWC),
        bias_tensor(context, node, parameter, weights.shape[1]),
    ]
    operator = _operator(padding, strides, activation)
    if same or exact:
        context.result(result, operator, inputs, NHWC)
        return
    _crop(
        context,
        result,
        context.step(operator, inputs, shape, context.type_of(result), f"{result.name}/full"),
        begin,
    )


def _cropping(
    node: ir.Node, full: tuple[int, ...], output_size: tuple[int, int]
) -> tuple[int, int]:
    """Elements cut off before each spatial axis of the full result."""
    if text_attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        raise Refusal("auto_pad SAME of a transposed convolution", "explicit pads")
    if "output_shape" in node.attributes:
        raise Refusal("the attribute output_shape", "explicit pads and output_padding")
    pads = image_pads(node)
    if any(pad < 0 for pad in pads):
        raise Refusal("negative padding", "padding of at least 0")
    if any(f - p < o for f, p, o in zip(full, pads[:2], output_size, strict=True)):
        raise Refusal(
            "output_padding beyond the full result", "output_padding of at most the end's pads"
        )
    return pads[0], pads[1]


def _dilated(weights: Array, dilations: tuple[int, ...]) -> Array:
    """Writes dilation into the kernel as zeros, since TRANSPOSE_CONV has none."""
    if all(step == 1 for step in dilations):
        return weights
    step_y, step_x = dilations
    inputs, outputs, height, width = weights.shape
    spread = np.zeros(
        (inputs, outputs, (height - 1) * step_y + 1, (width - 1) * step_x + 1), weights.dtype
    )
    spread[:, :, ::step_y, ::step_x] = weights
    return spread


def _ungrouped(weights: Array, groups: int) -> Array:
    """A grouped kernel as a block-diagonal one, since TRANSPOSE_CONV has no groups."""
    if groups == 1:
        return weights
    inputs, outputs, height, width = weights.shape
    size = inputs // groups
    full = np.zeros((inputs, outputs * groups, height, width), weights.dtype)
    for group in range(groups):
        rows = slice(group * size, (group + 1) * size)
        full[rows, group * outputs : (group + 1) * outputs] = weights[rows]
    return full


def _operator(padding: int, strides: tuple[int, int], activation: int) -> Operator:
    options = schema.TransposeConvOptionsT()
    options.padding = padding
    options.strideH, options.strideW = strides
    options.fusedActivationFunction = activation
    version = _ACTIVATION_VERSION if activation else _BIAS_VERSION
    return Operator("TRANSPOSE_CONV", options, version)


def _crop(context: LoweringContext, result: ir.Value, tensor: int, begin: tuple[int, int]) -> None:
    batch, channels, height, width = image_shape(context, result)
    starts = np.array([0, *begin, 0], np.int32)
    sizes: tuple[Dim, ...] = (batch, height, width, channels)
    inputs = [
        tensor,
        context.index_tensor(starts, f"{result.name}/begin"),
        context.index_tensor(np.array(sizes, np.int32), f"{result.name}/size"),
    ]
    context.result(result, Operator("SLICE", schema.SliceOptionsT()), inputs, NHWC)
