"""A single layer of a graph as a differentiable function of its input and weights."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import torch
from torch.nn import functional

from edgekit.graph.signature import static_shape
from edgekit.graph.values import int_attribute, ints_attribute, string_attribute

type LayerForward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_CONVOLUTIONS = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


def layer_forward(node: ir.Node) -> LayerForward | str:
    """The function ``(inputs, weights) -> outputs`` of a layer, without its bias.

    Args:
        node: Conv, ConvTranspose, Gemm with transA=0 and alpha 1, or MatMul.

    Returns:
        The function, or why there is none.
    """
    if node.op_type == "MatMul":
        return torch.matmul
    if node.op_type == "Gemm":
        if int_attribute(node, "transB", 0):
            return lambda inputs, weights: inputs @ weights.T
        return torch.matmul
    padding = _padding(node)
    if isinstance(padding, str):
        return padding
    return _convolution(node, padding) if node.op_type == "Conv" else _transposed(node, padding)


def _convolution(node: ir.Node, padding: tuple[int, ...]) -> LayerForward:
    rank = len(padding) // 2
    strides = ints_attribute(node, "strides", (1,) * rank)
    dilations = ints_attribute(node, "dilations", (1,) * rank)
    group = int_attribute(node, "group", 1)
    # torch.nn.functional.pad counts from the last axis; ONNX lists all begins, then all ends.
    amounts = [padding[axis + end * rank] for axis in reversed(range(rank)) for end in (0, 1)]

    def forward(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        padded = functional.pad(inputs, amounts)
        return _CONVOLUTIONS[rank](
            padded, weights, stride=strides, dilation=dilations, groups=group
        )

    return forward


def _transposed(node: ir.Node, padding: tuple[int, ...]) -> LayerForward | str:
    rank = len(padding) // 2
    if padding[:rank] != padding[rank:] or "output_shape" in node.attributes:
        return "its padding is not the same on both sides"
    strides = ints_attribute(node, "strides", (1,) * rank)
    dilations = ints_attribute(node, "dilations", (1,) * rank)
    extra = ints_attribute(node, "output_padding", (0,) * rank)
    group = int_attribute(node, "group", 1)

    def forward(inputs: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return _TRANSPOSED[rank](
            inputs, weights, stride=strides, padding=padding[:rank], output_padding=extra,
            groups=group, dilation=dilations,
        )  # fmt: skip

    return forward


def _padding(node: ir.Node) -> tuple[int, ...] | str:
    """Begins and then ends of each spatial axis, or why they are not known."""
    weights, value, output = node.inputs[1], node.inputs[0], node.outputs[0]
    if weights is None or value is None or weights.shape is None:
        return "its weights have no known shape"
    kernel = (static_shape(weights) or ())[2:]
    mode = string_attribute(node, "auto_pad", "NOTSET")
    if mode in ("NOTSET", "VALID"):
        return ints_attribute(node, "pads", (0,) * (2 * len(kernel)))
    before, after = _spatial(value), _spatial(output)
    if node.op_type != "Conv" or before is None or after is None:
        return f"its padding follows from auto_pad={mode} and sizes that are not known"
    strides = ints_attribute(node, "strides", (1,) * len(kernel))
    dilations = ints_attribute(node, "dilations", (1,) * len(kernel))
    begins, ends = [], []
    for axis, size in enumerate(kernel):
        reach = dilations[axis] * (size - 1) + 1
        total = max(0, (after[axis] - 1) * strides[axis] + reach - before[axis])
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return (*begins, *ends)


def _spatial(value: ir.Value) -> tuple[int, ...] | None:
    if value.shape is None:
        return None
    sizes = tuple(value.shape)[2:]
    known = tuple(size for size in sizes if isinstance(size, int))
    return known if len(known) == len(sizes) else None
