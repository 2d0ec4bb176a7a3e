"""Conv and ConvTranspose: layers where the weights are constant, functions elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from torch import fx, nn
from torch.nn import functional

from edgekit.graph.torch_twin.context import LayerRequest, TwinContext
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.torch_twin.window import pad_same, pads_for_torch, split_pads
from edgekit.graph.values import input_at, int_attribute, ints_attribute, string_attribute

_CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE: dict[int, type[nn.Module]] = {
    1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d,
}  # fmt: skip
_FUNCTION = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_FUNCTION_TRANSPOSE = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Attributes of a convolution, one number a spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    groups: int
    channels: tuple[int, int]

    @property
    def rank(self) -> int:
        return len(self.kernel)


def _geometry(node: ir.Node) -> _Geometry:
    value = input_at(node, 1)
    shape = None if value is None or value.shape is None else tuple(value.shape)
    sizes = tuple(dim for dim in shape or () if isinstance(dim, int))
    if shape is None or len(sizes) != len(shape):
        raise Refusal("the shape of its weights is unknown", "weights of known shape")
    rank = len(sizes) - 2
    if rank not in _CONV:
        raise Refusal(f"{rank} spatial axes", "1 to 3")
    ones = (1,) * rank
    return _Geometry(
        sizes[2:],
        ints_attribute(node, "strides", ones),
        ints_attribute(node, "dilations", ones),
        int_attribute(node, "group", 1),
        (sizes[0], sizes[1]),
    )


@twin_op("Conv", parameters=(1, 2))
def build_conv(context: TwinContext, node: ir.Node) -> Built:
    """A layer with symmetric padding of its own; other padding goes before it."""
    geometry = _geometry(node)
    x, padding = _padded(context, node, geometry)
    weight, bias = context.weight(node, 1), context.weight(node, 2)
    if weight is not None and not context.is_computed(node, 2):
        outputs, inputs = geometry.channels
        options = {
            "in_channels": inputs * geometry.groups, "out_channels": outputs,
            "kernel_size": geometry.kernel, "stride": geometry.strides, "padding": padding,
            "dilation": geometry.dilations, "groups": geometry.groups,
        }  # fmt: skip
        request = LayerRequest(_CONV[geometry.rank], options, weight, bias=bias)
        layer = context.layer(node, request, x)
        if layer is not None:
            return layer
    return context.call(
        _FUNCTION[geometry.rank], x, context.tensor(node, 1), context.optional(node, 2),
        geometry.strides, padding, geometry.dilations, geometry.groups,
    )  # fmt: skip


def _padded(
    context: TwinContext, node: ir.Node, geometry: _Geometry
) -> tuple[fx.Node, tuple[int, ...]]:
    """The input after the padding that no layer can do, and the padding that is left."""
    x = context.tensor(node, 0)
    none = (0,) * geometry.rank
    mode = string_attribute(node, "auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        same = context.call(
            pad_same, x, geometry.kernel, geometry.strides, geometry.dilations,
            mode == "SAME_UPPER",
        )  # fmt: skip
        return same, none
    begin, end = split_pads(node, geometry.rank)
    if mode == "VALID":
        begin = end = none
    if begin == end and min(begin) >= 0:
        return x, begin
    padded = context.call(functional.pad, x, pads_for_torch(begin, end))
    return _as_rounded(context, x, padded), none


def _as_rounded(context: TwinContext, x: fx.Node, padded: fx.Node) -> fx.Node:
    """Zeros are whole numbers in every quantization, so ``padded`` stays rounded."""
    if x in context.rounded_by:
        context.rounded_by[padded] = context.rounded_by[x]
    return padded


@twin_op("ConvTranspose", parameters=(1, 2))
def build_conv_transpose(context: TwinContext, node: ir.Node) -> Built:
    """A layer with torch's symmetric cropping; other cropping and padding go behind it."""
    geometry = _geometry(node)
    x = context.tensor(node, 0)
    begin, end, extra = _crops(node, geometry)
    fits = begin == end and min(begin) >= 0
    padding = begin if fits else (0,) * geometry.rank
    small = all(
        more < max(stride, dilation)
        for more, stride, dilation in zip(extra, geometry.strides, geometry.dilations, strict=True)
    )
    if not small:
        raise Refusal(
            f"output padding {extra} with strides {geometry.strides}",
            "less than the stride or the dilation on each axis",
        )
    result = _transposed(context, node, geometry, x, (padding, extra))
    if fits:
        return result
    return context.call(functional.pad, result, pads_for_torch(_negative(begin), _negative(end)))


def _transposed(
    context: TwinContext,
    node: ir.Node,
    geometry: _Geometry,
    x: fx.Node,
    paddings: tuple[tuple[int, ...], tuple[int, ...]],
) -> fx.Node:
    padding, extra = paddings
    weight, bias = context.weight(node, 1), context.weight(node, 2)
    if weight is not None and not context.is_computed(node, 2):
        inputs, outputs = geometry.channels
        options = {
            "in_channels": inputs, "out_channels": outputs * geometry.groups,
            "kernel_size": geometry.kernel, "stride": geometry.strides, "padding": padding,
            "output_padding": extra, "dilation": geometry.dilations, "groups": geometry.groups,
        }  # fmt: skip
        kind = _CONV_TRANSPOSE[geometry.rank]
        request = LayerRequest(kind, options, weight, bias=bias, groups=geometry.groups)
        layer = context.layer(node, request, x)
        if layer is not None:
            return layer
    return context.call(
        _FUNCTION_TRANSPOSE[geometry.rank], x, context.tensor(node, 1),
        context.optional(node, 2), geometry.strides, padding, extra, geometry.groups,
        geometry.dilations,
    )  # fmt: skip


def _crops(
    node: ir.Node, geometry: _Geometry
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """What is cut off before and behind each axis, and the output padding.

    ONNX's ``output_shape`` decides the sum of both; ``auto_pad`` to which side the odd one goes.
    """
    extra = ints_attribute(node, "output_padding", (0,) * geometry.rank)
    mode = string_attribute(node, "auto_pad", "NOTSET")
    wanted = ints_attribute(node, "output_shape", ())
    if not wanted and mode not in ("SAME_UPPER", "SAME_LOWER"):
        begin, end = split_pads(node, geometry.rank)
        if mode == "VALID":
            begin = end = (0,) * geometry.rank
        return begin, end, extra
    sizes = _spatial_sizes(node, geometry.rank)
    firsts, lasts = [], []
    for axis in range(geometry.rank):
        stride = geometry.strides[axis]
        span = geometry.dilations[axis] * (geometry.kernel[axis] - 1) + 1
        output = wanted[axis] if wanted else sizes[axis] * stride
        total = stride * (sizes[axis] - 1) + extra[axis] + span - output
        first = total // 2 if mode == "SAME_UPPER" else total - total // 2
        firsts.append(first)
        lasts.append(total - first)
    return tuple(firsts), tuple(lasts), extra


def _spatial_sizes(node: ir.Node, rank: int) -> tuple[int, ...]:
    value = input_at(node, 0)
    dims = () if value is None or value.shape is None else tuple(value.shape)[2:]
    sizes = tuple(dim for dim in dims if isinstance(dim, int))
    if len(sizes) != rank:
        raise Refusal("output_shape or auto_pad with an input of unknown size", "pads")
    return sizes


def _negative(sizes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(-size for size in sizes)
