"""Steps that several image operators share: spatial sizes and explicit padding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal
from edgekit.targets.tflite.lowering.context import IMAGE_RANK, LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Dim
from edgekit.targets.tflite.lowering.padding import Window, is_same_padding
from edgekit.targets.tflite.lowering.quantization import Parameter


def image_shape(context: LoweringContext, value: ir.Value) -> tuple[Dim, int, int, int]:
    """Shape ``[N, C, H, W]`` of an image value; only N may be symbolic."""
    shape = context.shape(value)
    if len(shape) != IMAGE_RANK:
        raise Refusal(
            f"{value.name!r} has rank {len(shape)}",
            "rank 4, [N, C, H, W]; of convolution and pooling also rank 3, [N, C, L]",
        )
    batch, channels, height, width = shape
    if isinstance(channels, str) or isinstance(height, str) or isinstance(width, str):
        raise Refusal(f"{value.name!r} has dynamic spatial dims", "a fixed height and width")
    return batch, channels, height, width


def spatial_size(context: LoweringContext, value: ir.Value) -> tuple[int, int]:
    """Height and width of an image value."""
    _, _, height, width = image_shape(context, value)
    return height, width


def image_weights(parameter: Parameter) -> Parameter:
    """Weights ``[M, C, kh, kw]``; those of one spatial axis get a height of 1.

    Raises:
        Refusal: If there are more than two spatial axes.
    """
    rank = parameter.array.ndim
    if rank not in {IMAGE_RANK - 1, IMAGE_RANK}:
        raise Refusal(f"{rank - 2} spatial axes", "one or two spatial axes")
    if rank == IMAGE_RANK:
        return parameter
    quantization = parameter.type.quantization
    # The slices of convolution weights are units: axis 0 or 1, before the new one.
    axis = 0 if quantization is None or quantization.axis is None else quantization.axis
    return parameter.rearranged(lambda w: np.expand_dims(w, 2), axis)


def padded_input(
    context: LoweringContext,
    tensor: int,
    value: ir.Value,
    window: Window,
    *,
    lowest: bool = False,
) -> int:
    """Writes the PAD of an NHWC tensor that ``window`` asks for.

    Args:
        context: The lowering.
        tensor: The NHWC tensor of ``value``.
        value: The ONNX value, for its shape and name.
        window: Supplies the padding.
        lowest: Pad with the lowest value of the type instead of zero.
    """
    batch, channels, height, width = image_shape(context, value)
    (top, left), (bottom, right) = window.begin, window.end
    pads = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
    shape = (batch, height + top + bottom, width + left + right, channels)
    name = f"{value.name}/pad_{top}_{left}_{bottom}_{right}"
    inputs = [tensor, context.index_tensor(pads, f"{name}/amounts")]
    operator = Operator("PAD", schema.PadOptionsT())
    tensor_type = context.type_of(value)
    if lowest:
        operator = Operator("PADV2", schema.PadV2OptionsT())
        kind = np.dtype(tensor_type.dtype)
        bound = np.finfo(kind).min if kind.kind == "f" else np.iinfo(kind).min
        fill = Parameter(np.array(bound, kind), tensor_type)
        inputs.append(context.operand(fill, f"{name}/fill"))
    return context.step(operator, inputs, shape, tensor_type, name)


def resolve_padding(
    context: LoweringContext,
    value: ir.Value,
    tensor: int,
    window: Window,
    output_size: tuple[int, int],
) -> tuple[int, int]:
    """Chooses SAME or VALID, writing a zero PAD where neither gives ONNX's padding.

    XNNPACK merges a zero PAD into the convolution that reads it.

    Returns:
        The tensor to read and the padding code.
    """
    if not window.padded:
        return tensor, int(schema.Padding.VALID)
    if is_same_padding(window, spatial_size(context, value), output_size):
        return tensor, int(schema.Padding.SAME)
    return padded_input(context, tensor, value, window), int(schema.Padding.VALID)
