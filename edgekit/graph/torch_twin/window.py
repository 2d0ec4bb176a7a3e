"""Padding of sliding windows, for convolutions and pooling."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from torch import Tensor
from torch.nn import functional

from edgekit.graph.values import ints_attribute


def split_pads(node: ir.Node, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Attribute ``pads`` as padding before and behind each spatial axis."""
    pads = ints_attribute(node, "pads", (0,) * (2 * rank))
    return pads[:rank], pads[rank:]


def pads_for_torch(begin: Sequence[int], end: Sequence[int]) -> tuple[int, ...]:
    """The order of `torch.nn.functional.pad`: last axis first, before and behind in turn."""
    pairs = list(zip(begin, end, strict=True))
    return tuple(amount for pair in reversed(pairs) for amount in pair)


def same_pads(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    upper: bool,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding that makes the output ``ceil(size / stride)``.

    Args:
        sizes: Of the input's spatial axes.
        kernel: Of the window.
        strides: Of the window.
        dilations: Of the window.
        upper: True when the odd one goes behind (``SAME_UPPER``).
    """
    begin, end = [], []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        outputs = -(-size // stride)
        total = max(0, (outputs - 1) * stride + dilation * (width - 1) + 1 - size)
        first = total // 2 if upper else total - total // 2
        begin.append(first)
        end.append(total - first)
    return tuple(begin), tuple(end)


def pad_same(
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    upper: bool,
) -> Tensor:
    """Pads ``[N, C, ...]`` with zeros as `same_pads` says."""
    begin, end = same_pads(x.shape[2:], kernel, strides, dilations, upper)
    return functional.pad(x, pads_for_torch(begin, end))
