"""Pooling: MAX_POOL_2D, AVERAGE_POOL_2D, and the global ones as MEAN and REDUCE_MAX."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    required_input,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.image import (
    image_shape,
    padded_input,
    spatial_size,
)
from edgekit.targets.tflite.lowering.layout import NHWC
from edgekit.targets.tflite.lowering.padding import (
    Window,
    image_pads,
    image_pair,
    is_same_padding,
    read_window,
)
from edgekit.targets.tflite.lowering.quantization import FLOAT32, Parameter, is_never_negative
from edgekit.targets.tflite.lowering.registry import lowers


@lowers(
    "MaxPool",
    accepts="one or two spatial axes, no dilation, no indices output",
    integer=True,
    int16=True,
)
def lower_max_pool(context: LoweringContext, node: ir.Node) -> None:
    """MaxPool -> MAX_POOL_2D; padding that SAME does not give is written out.

    The fill is zero where the input cannot be negative (a zero then never wins against the
    window's own values), and the lowest float elsewhere.
    """
    indices = node.outputs[1] if len(node.outputs) > 1 else None
    if indices is not None and (indices.uses() or indices.is_graph_output()):
        raise Refusal("the indices output is used", "the pooled output alone")
    value = required_input(node, 0)
    window, output_size = _window(context, node)
    tensor = context.tensor(value, NHWC)
    padding = int(schema.Padding.VALID)
    if window.padded:
        if is_same_padding(window, spatial_size(context, value), output_size):
            padding = int(schema.Padding.SAME)
        else:
            lowest = value not in context.non_negative and not is_never_negative(
                context.type_of(value)
            )
            tensor = padded_input(context, tensor, value, window, lowest=lowest)
    activation, result = context.fused_activation(node)
    if value in context.non_negative:
        context.non_negative.add(result)
    operator = pool_operator("MAX_POOL_2D", window, padding, activation)
    context.result(result, operator, [tensor], NHWC, context.type_of(value))


@lowers("AveragePool", accepts="one or two spatial axes, no dilation", integer=True, int16=True)
def lower_average_pool(context: LoweringContext, node: ir.Node) -> None:
    """AveragePool -> AVERAGE_POOL_2D, which divides by the number of elements inside.

    With ``count_include_pad`` the padding is written out. Padding that is not counted and that
    SAME does not give is written out too, and a MUL corrects the divisor at the border.
    """
    value = required_input(node, 0)
    window, output_size = _window(context, node)
    input_size = spatial_size(context, value)
    counted = bool(int_attribute(node, "count_include_pad", 0))
    declared = _declared_padding(node, window)
    if counted and declared != window:
        raise Refusal("count_include_pad with a window beyond the declared pads", "ceil_mode=0")
    activation, result = context.fused_activation(node)
    same = is_same_padding(window, input_size, output_size)
    if window.padded and not (same or counted):
        context.compute_in_float(
            "an average that leaves out padding would be rounded twice at the border"
        )
    tensor = context.tensor(value, NHWC)
    if not window.padded or (same and not counted):
        padding = schema.Padding.SAME if window.padded else schema.Padding.VALID
        operator = pool_operator("AVERAGE_POOL_2D", window, padding, activation)
        context.result(result, operator, [tensor], NHWC, context.type_of(value))
        return
    tensor = padded_input(context, tensor, value, window)
    if counted:
        operator = pool_operator("AVERAGE_POOL_2D", window, schema.Padding.VALID, activation)
        context.result(result, operator, [tensor], NHWC, context.type_of(value))
        return
    operator = pool_operator("AVERAGE_POOL_2D", window, schema.Padding.VALID, 0)
    batch, channels, *_ = image_shape(context, value)
    pooled = context.step(
        operator, [tensor], (batch, *output_size, channels), FLOAT32, f"{result.name}/summed"
    )
    options = schema.MulOptionsT()
    options.fusedActivationFunction = activation
    factor = Parameter(_divisor_correction(window, input_size, output_size), FLOAT32)
    inputs = [pooled, context.operand(factor, f"{result.name}/divisor")]
    context.result(result, Operator("MUL", options), inputs, NHWC)


@lowers("GlobalAveragePool", accepts="one or two spatial axes", integer=True, int16=True)
def lower_global_average_pool(context: LoweringContext, node: ir.Node) -> None:
    """GlobalAveragePool -> MEAN over height and width, keeping them as 1."""
    _global_reduce(context, node, "MEAN")


@lowers("GlobalMaxPool", accepts="one or two spatial axes", integer=True, int16=True)
def lower_global_max_pool(context: LoweringContext, node: ir.Node) -> None:
    """GlobalMaxPool -> REDUCE_MAX over height and width, keeping them as 1."""
    _global_reduce(context, node, "REDUCE_MAX")


def _global_reduce(context: LoweringContext, node: ir.Node, name: str) -> None:
    value = required_input(node, 0)
    image_shape(context, value)
    options = schema.ReducerOptionsT()
    options.keepDims = True
    axes = context.index_tensor(np.array([1, 2], np.int32), "height_and_width")
    result = node.outputs[0]
    if value in context.non_negative:
        context.non_negative.add(result)
    made = context.type_of(value if name == "REDUCE_MAX" else result)
    inputs = [context.tensor(value, NHWC), axes]
    context.result(result, Operator(name, options), inputs, NHWC, made)


def pool_operator(name: str, window: Window, padding: int, activation: int) -> Operator:
    """A MAX_POOL_2D or AVERAGE_POOL_2D operator."""
    options = schema.Pool2DOptionsT()
    options.padding = padding
    options.strideH, options.strideW = window.strides
    options.filterHeight, options.filterWidth = window.size
    options.fusedActivationFunction = activation
    return Operator(name, options)


def _window(context: LoweringContext, node: ir.Node) -> tuple[Window, tuple[int, int]]:
    size = image_pair(node, "kernel_shape")
    output_size = spatial_size(context, node.outputs[0])
    window = read_window(node, size, spatial_size(context, required_input(node, 0)), output_size)
    if window.dilations != (1, 1):
        raise Refusal("a dilated pooling window", "dilations of 1")
    return window, output_size


def _declared_padding(node: ir.Node, window: Window) -> Window:
    """The window with the padding that the attributes state, before ceil_mode widens it."""
    if int_attribute(node, "ceil_mode", 0) == 0:
        return window
    pads = image_pads(node)
    return Window(window.size, window.strides, window.dilations, window.begin, (pads[2], pads[3]))


def _divisor_correction(
    window: Window, input_size: tuple[int, int], output_size: tuple[int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Window area over the number of its elements inside the input, ``[1, H, W, 1]``."""
    inside = []
    for i in range(2):
        start = np.arange(output_size[i]) * window.strides[i] - window.begin[i]
        stop = np.minimum(start + window.size[i], input_size[i])
        inside.append(stop - np.maximum(start, 0))
    area = window.size[0] * window.size[1]
    counts = np.outer(inside[0], inside[1]).astype(np.float32)
    return (area / counts).astype(np.float32)[None, :, :, None]
