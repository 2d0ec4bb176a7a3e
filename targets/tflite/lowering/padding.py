"""Translates ONNX's explicit paddings to TFLite's SAME and VALID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.graph.node_view import Refusal, ints_attribute, text_attribute


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over two spatial axes (height, width).

    Attributes:
        size: Extent in elements.
        strides: Step between windows.
        dilations: Distance between the window's elements.
        begin: Padding before each axis.
        end: Padding after each axis.
    """

    size: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]

    @property
    def extent(self) -> tuple[int, int]:
        """Extent with dilation, in elements."""
        (height, width), (step_y, step_x) = self.size, self.dilations
        return (height - 1) * step_y + 1, (width - 1) * step_x + 1

    @property
    def padded(self) -> bool:
        """Whether any side is padded."""
        return any(self.begin) or any(self.end)


def read_window(
    node: ir.Node, size: Sequence[int], input_size: tuple[int, int], output_size: tuple[int, int]
) -> Window:
    """Reads a Conv or pooling node's window, with its padding made explicit.

    The padding at the end is what the output's size implies, which covers ``auto_pad`` and
    ``ceil_mode`` alike: a window that starts inside the padded input is never cut off.

    Args:
        node: The node.
        size: Extent of the window, height and width.
        input_size: Height and width of the input.
        output_size: Height and width of the output, as shape inference found them.
    """
    strides, dilations = image_pair(node, "strides"), image_pair(node, "dilations")
    extent = [(s - 1) * d + 1 for s, d in zip(size, dilations, strict=True)]
    needed = [(output_size[i] - 1) * strides[i] + extent[i] - input_size[i] for i in range(2)]
    auto_pad = text_attribute(node, "auto_pad", "NOTSET")
    pads = image_pads(node)
    if auto_pad == "NOTSET":
        begin = list(pads[:2])
    elif auto_pad == "VALID":
        begin = [0, 0]
    else:
        total = [max(0, value) for value in needed]
        begin = [(t + 1) // 2 if auto_pad == "SAME_LOWER" else t // 2 for t in total]
    if any(value < 0 for value in (*begin, *pads)):
        raise Refusal("negative padding", "padding of at least 0")
    # A stride that leaves elements over at the end needs none of them: no negative padding.
    end = [max(0, needed[i] - begin[i]) for i in range(2)]
    kernel = (int(size[0]), int(size[1]))
    return Window(kernel, strides, dilations, (begin[0], begin[1]), (end[0], end[1]))


def is_same_padding(
    window: Window, input_size: tuple[int, int], output_size: tuple[int, int]
) -> bool:
    """Whether TFLite's SAME gives this padding.

    SAME makes ``ceil(input / stride)`` outputs and puts the odd element of padding at the end
    (TensorFlow API documentation, "Notes on padding").
    """
    for i in range(2):
        if output_size[i] != -(-input_size[i] // window.strides[i]):
            return False
        total = max(0, (output_size[i] - 1) * window.strides[i] + window.extent[i] - input_size[i])
        if (window.begin[i], window.end[i]) != (total // 2, total - total // 2):
            return False
    return True


def image_pair(node: ir.Node, name: str) -> tuple[int, int]:
    """An attribute with one number for each spatial axis, 1 where it is absent.

    With one axis only, that is the width of an image of height 1.
    """
    values = ints_attribute(node, name, (1, 1))
    if len(values) not in {1, 2}:
        raise Refusal(f"{len(values)} spatial axes", "one or two spatial axes")
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def image_pads(node: ir.Node) -> tuple[int, int, int, int]:
    """Padding at the top, left, bottom and right as the attribute ``pads`` states it."""
    pads = ints_attribute(node, "pads", (0, 0, 0, 0))
    if len(pads) == 2:
        return 0, pads[0], 0, pads[1]
    if len(pads) != 4:
        raise Refusal(f"{len(pads) // 2} spatial axes", "one or two spatial axes")
    return pads[0], pads[1], pads[2], pads[3]
