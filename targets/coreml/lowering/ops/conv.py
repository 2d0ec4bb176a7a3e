"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, ints_attribute, required_input
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    is_open,
    kind_of,
    rank_of,
    shape_of,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers
from edgekit.targets.coreml.lowering.spatial import Window, explicit_pads, read_window

_RANKS = "1 to 3 spatial axes, floats"


@lowers("Conv", accepts=_RANKS)
def lower_conv(e: Emitter, node: ir.Node) -> Var:
    """A convolution with explicit padding."""
    x, weight = _operands(e, node)
    spatial = rank_of(x) - 2
    kernel = [int(size) for size in shape_of(weight)[2:]]
    window = read_window(node, spatial, kernel)
    pads = explicit_pads(window, shape_of(x)[2:], "a convolution")
    return e(
        "conv",
        x=x,
        weight=weight,
        bias=e.optional(node, 2),
        strides=list(window.strides),
        pad_type="custom",
        pad=_interleaved(pads),
        dilations=list(window.dilations),
        groups=int_attribute(node, "group", 1),
    )


def _operands(e: Emitter, node: ir.Node) -> tuple[Var, Var]:
    x, weight = e.input(node, 0), e.input(node, 1)
    if kind_of(x) != "float":
        raise Refusal("a convolution of integers", "floats, or Q/DQ nodes around it")
    if not 3 <= rank_of(x) <= 5:
        raise Refusal(f"{rank_of(x) - 2} spatial axes", _RANKS)
    made_by = weight.op.op_type if weight.op is not None else ""
    known = weight.val is not None or made_by.startswith("constexpr")
    if not known and not e.options.at_least("iOS17"):
        raise Refusal("weights computed while the model runs", "deployment target iOS17 or later")
    return x, weight


def _interleaved(pads: Sequence[tuple[int, int]]) -> list[int]:
    return [amount for pair in pads for amount in pair]


@lowers("ConvTranspose", accepts=_RANKS)
def lower_conv_transpose(e: Emitter, node: ir.Node) -> Var:
    """A transposed convolution, cropped by its pads and grown by its output padding."""
    x, weight = _operands(e, node)
    spatial = rank_of(x) - 2
    kernel = [int(size) for size in shape_of(weight)[2:]]
    window = read_window(node, spatial, kernel)
    crops = _crops(node, window, shape_of(x)[2:])
    grown = [max(0, -end) for _, end in crops]
    bias = e.optional(node, 2)
    result = e(
        "conv_transpose",
        x=x,
        weight=weight,
        bias=None if any(grown) else bias,
        strides=list(window.strides),
        pad_type="custom",
        pad=_interleaved([(begin, max(0, end)) for begin, end in crops]),
        dilations=list(window.dilations),
        groups=int_attribute(node, "group", 1),
    )
    if not any(grown):
        return result
    padding = [0] * (2 * (rank_of(x) - spatial))
    for amount in grown:
        padding += [0, amount]
    result = e("pad", x=result, pad=padding, mode="constant", constant_val=np.float32(0))
    if bias is None:
        return result
    shape = [1, int(shape_of(bias)[0]), *[1] * spatial]
    return e("add", x=result, y=e("reshape", x=bias, shape=shape))


def _crops(node: ir.Node, window: Window, sizes: Sequence[Any]) -> list[tuple[int, int]]:
    """Elements cut off the full result at both ends; negative ones are added."""
    spatial = len(sizes)
    extra = ints_attribute(node, "output_padding", (0,) * spatial)
    full = [
        stride * (0 if is_open(size) else int(size) - 1) + dilation * (kernel - 1) + 1 + more
        for size, kernel, stride, dilation, more in zip(
            sizes, window.kernel, window.strides, window.dilations, extra, strict=True
        )
    ]
    wanted: Sequence[int] = ints_attribute(node, "output_shape")
    if not wanted and window.auto_pad in {"SAME_UPPER", "SAME_LOWER"}:
        if any(is_open(size) for size in sizes):
            raise Refusal("SAME padding of an open dimension", "fixed sizes or explicit pads")
        wanted = [int(size) * step for size, step in zip(sizes, window.strides, strict=True)]
    if wanted:
        if any(is_open(size) for size in sizes):
            raise Refusal("output_shape with an open dimension", "fixed sizes or explicit pads")
        totals = [whole - size for whole, size in zip(full, wanted[-spatial:], strict=True)]
        upper = window.auto_pad == "SAME_UPPER"
        pads = [
            (total // 2, total - total // 2) if upper else (total - total // 2, total // 2)
            for total in totals
        ]
        pads = [(max(begin, 0), end + min(begin, 0)) for begin, end in pads]
    else:
        pads = list(window.pads)
    return [(begin, end - more) for (begin, end), more in zip(pads, extra, strict=True)]


@lowers("DeformConv", "ConvInteger", "QLinearConv", accepts="nothing")
def refuse_other_convolutions(e: Emitter, node: ir.Node) -> Var:
    """Convolutions that MIL has no counterpart for."""
    required_input(node, 0)
    raise Refusal(
        f"MIL has no counterpart of {node.op_type}",
        "Conv; integers as QuantizeLinear and DequantizeLinear around it",
    )
