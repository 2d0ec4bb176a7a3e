"""Kernels, strides and padding of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgekit.graph.node_view import Refusal, ints_attribute, text_attribute
from edgekit.targets.coreml.lowering.emitter import is_open


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel slides.

    Attributes:
        kernel: Its size along each spatial axis.
        strides: Steps.
        dilations: Distances between its elements.
        pads: Declared padding before and after each axis.
        auto_pad: ONNX's ``auto_pad``; ``"NOTSET"`` where the pads are declared.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    auto_pad: str

    @property
    def reach(self) -> tuple[int, ...]:
        """Elements between the first and the last one that the kernel sees, inclusive."""
        pairs = zip(self.kernel, self.dilations, strict=True)
        return tuple(dilation * (size - 1) + 1 for size, dilation in pairs)


def read_window(node: ir.Node, spatial: int, kernel: Sequence[int] = ()) -> Window:
    """The attributes of a convolution or pool.

    Args:
        node: The node.
        spatial: Number of spatial axes.
        kernel: Size of the kernel where the node has weights.
    """
    ones = (1,) * spatial
    flat = ints_attribute(node, "pads", (0,) * (2 * spatial))
    auto = text_attribute(node, "auto_pad", "NOTSET") or "NOTSET"
    pads = tuple(zip(flat[:spatial], flat[spatial:], strict=True))
    if auto == "VALID":
        pads = ((0, 0),) * spatial
    return Window(
        kernel=tuple(kernel) or ints_attribute(node, "kernel_shape"),
        strides=ints_attribute(node, "strides", ones),
        dilations=ints_attribute(node, "dilations", ones),
        pads=pads,
        auto_pad=auto,
    )


def explicit_pads(window: Window, sizes: Sequence[Any], what: str) -> list[tuple[int, int]]:
    """Padding before and after each axis, with ``auto_pad`` worked out.

    Raises:
        Refusal: If that depends on an open dimension.
    """
    if window.auto_pad not in {"SAME_UPPER", "SAME_LOWER"}:
        return list(window.pads)
    pads = []
    for size, stride, reach in zip(sizes, window.strides, window.reach, strict=True):
        if is_open(size):
            if stride != 1:
                raise Refusal(f"SAME padding of {what} over an open dimension", "explicit pads")
            total = reach - 1
        else:
            total = max(0, (-(-int(size) // stride) - 1) * stride + reach - int(size))
        small, large = total // 2, total - total // 2
        pads.append((small, large) if window.auto_pad == "SAME_UPPER" else (large, small))
    return pads
