"""Pooling over windows and over whole images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.torch_twin.window import pads_for_torch, same_pads, split_pads
from edgekit.graph.values import int_attribute, ints_attribute, string_attribute

_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window; one number a spatial axis.

    Attributes:
        size: Of the window.
        strides: Between windows.
        dilations: Between the elements of a window.
        begin: Padding before the first element.
        end: Padding behind the last.
        ceil: Whether a window may reach beyond the padding.
        same: ``"SAME_UPPER"`` or ``"SAME_LOWER"`` when the padding follows the input's size.
    """

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begin: tuple[int, ...]
    end: tuple[int, ...]
    ceil: bool
    same: str

    def pads(self, sizes: tuple[int, ...]) -> tuple[list[tuple[int, int]], list[int]]:
        """Padding of each axis up to the last window's end, and how much of it is declared.

        Args:
            sizes: Of the input's spatial axes.

        Returns:
            Pairs of padding before and behind (negative where the last elements are in no
            window), and for each axis the padding behind that counts as padding; what lies
            beyond it exists only because of ``ceil``.
        """
        begin, end = self.begin, self.end
        if self.same:
            begin, end = same_pads(
                sizes, self.size, self.strides, self.dilations, self.same == "SAME_UPPER"
            )
        pairs = []
        for axis, size in enumerate(sizes):
            span = self.dilations[axis] * (self.size[axis] - 1) + 1
            room = size + begin[axis] + end[axis] - span
            stride = self.strides[axis]
            steps = -(-room // stride) if self.ceil else room // stride
            if self.ceil and steps * stride >= size + begin[axis]:
                # A window must not start in the padding behind the input.
                steps -= 1
            pairs.append((begin[axis], steps * stride + span - size - begin[axis]))
        return pairs, list(end)


def read_window(context: TwinContext, node: ir.Node) -> Window:
    """The window that a pooling node's attributes describe."""
    size = ints_attribute(node, "kernel_shape")
    if len(size) not in _MAX_POOL:
        raise Refusal(f"{len(size)} spatial axes", "1 to 3")
    ones = (1,) * len(size)
    mode = string_attribute(node, "auto_pad", "NOTSET")
    begin, end = split_pads(node, len(size))
    if mode != "NOTSET":
        begin = end = (0,) * len(size)
    return Window(
        size, ints_attribute(node, "strides", ones), ints_attribute(node, "dilations", ones),
        begin, end, bool(int_attribute(node, "ceil_mode", 0)),
        mode if mode.startswith("SAME") else "",
    )  # fmt: skip


def _is_plain(window: Window) -> bool:
    """True where torch has the same padding."""
    return (
        not window.ceil
        and not window.same
        and window.begin == window.end
        and all(
            0 <= amount <= size // 2
            for amount, size in zip(window.begin, window.size, strict=True)
        )
    )


@twin_op("MaxPool")
def build_max_pool(context: TwinContext, node: ir.Node) -> Built:
    """Highest element of each window; padding never wins."""
    window = read_window(context, node)
    x = context.tensor(node, 0)
    dtype = node.outputs[0].dtype
    if dtype is not None and not dtype.is_floating_point():
        # torch pools floats only; float32 holds all integers of 8 and 16 bits.
        wide = context.call(Tensor.to, x, torch.float32)
        pooled = _max_pool(context, window, wide)
        return context.call(Tensor.to, pooled, _integer(dtype))
    return _max_pool(context, window, x)


def _max_pool(context: TwinContext, window: Window, x: torch.fx.Node) -> torch.fx.Node:
    if _is_plain(window):
        return context.call(
            _MAX_POOL[len(window.size)], x, window.size, window.strides, window.begin,
            window.dilations,
        )  # fmt: skip
    return context.call(max_pool, x, *_arguments(window))


def _integer(dtype: ir.DataType) -> torch.dtype:
    kinds = {
        ir.DataType.INT8: torch.int8, ir.DataType.UINT8: torch.uint8,
        ir.DataType.INT16: torch.int16,
    }  # fmt: skip
    if dtype not in kinds:
        raise Refusal(f"pooling of {dtype}", "floats, int8, uint8 or int16")
    return kinds[dtype]


def _arguments(window: Window) -> tuple[object, ...]:
    """A window as what a torch graph can hold as arguments."""
    return (
        window.size, window.strides, window.dilations, window.begin, window.end, window.ceil,
        window.same,
    )  # fmt: skip


def max_pool(x: Tensor, *window: object) -> Tensor:
    """Pools ``[N, C, ...]`` with any padding; ``window`` as the fields of `Window`."""
    shape = Window(*window)  # type: ignore[arg-type]
    pairs, _ = shape.pads(tuple(x.shape[2:]))
    padded = functional.pad(x, _flat(pairs), value=-math.inf)
    pool = _MAX_POOL[len(shape.size)]
    result: Tensor = pool(padded, shape.size, shape.strides, 0, shape.dilations)
    return result


def _flat(pairs: list[tuple[int, int]]) -> tuple[int, ...]:
    return pads_for_torch([first for first, _ in pairs], [last for _, last in pairs])


@twin_op("AveragePool")
def build_average_pool(context: TwinContext, node: ir.Node) -> Built:
    """Mean of each window, over its elements inside the input or over all that are padded."""
    window = read_window(context, node)
    counted = bool(int_attribute(node, "count_include_pad", 0))
    x = context.tensor(node, 0)
    if _is_plain(window) and set(window.dilations) == {1}:
        return context.call(
            _AVERAGE_POOL[len(window.size)], x, window.size, window.strides, window.begin, False,
            counted,
        )  # fmt: skip
    return context.call(average_pool, x, counted, *_arguments(window))


def average_pool(x: Tensor, counted: bool, *window: object) -> Tensor:
    """Pools ``[N, C, ...]``; ``window`` as the fields of `Window`."""
    shape = Window(*window)  # type: ignore[arg-type]
    total = sum_pool(x, shape)
    inside = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if counted:
        pairs, declared = shape.pads(tuple(x.shape[2:]))
        ends = [min(last, given) for (_, last), given in zip(pairs, declared, strict=True)]
        counts = functional.pad(
            inside, _flat([(first, end) for (first, _), end in zip(pairs, ends, strict=True)]),
            value=1.0,
        )  # fmt: skip
        rest = [(0, last - end) for (_, last), end in zip(pairs, ends, strict=True)]
        return total / _window_sum(functional.pad(counts, _flat(rest)), shape)
    return total / sum_pool(inside, shape)


def sum_pool(x: Tensor, window: Window) -> Tensor:
    """Sum of each window; padding counts as zero."""
    pairs, _ = window.pads(tuple(x.shape[2:]))
    return _window_sum(functional.pad(x, _flat(pairs)), window)


def _window_sum(x: Tensor, window: Window) -> Tensor:
    """Sums windows of an input that is padded already, by a convolution with ones."""
    single = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones((1, 1, *window.size), dtype=x.dtype, device=x.device)
    summed = _CONV[len(window.size)](single, ones, None, window.strides, 0, window.dilations)
    return summed.reshape(*x.shape[:2], *summed.shape[2:])


@twin_op("LpPool")
def build_lp_pool(context: TwinContext, node: ir.Node) -> Built:
    """``(sum |x|^p)^(1/p)`` of each window."""
    window = read_window(context, node)
    return context.call(
        lp_pool, context.tensor(node, 0), int_attribute(node, "p", 2), *_arguments(window)
    )


def lp_pool(x: Tensor, p: int, *window: object) -> Tensor:
    """See `build_lp_pool`; ``window`` as the fields of `Window`."""
    shape = Window(*window)  # type: ignore[arg-type]
    return sum_pool(x.abs() ** p, shape) ** (1.0 / p)


@twin_op("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def build_global(context: TwinContext, node: ir.Node) -> Built:
    """Over all spatial axes, which stay with size 1."""
    axes = tuple(range(2, context.rank(node)))
    x = context.tensor(node, 0)
    if node.op_type == "GlobalLpPool":
        return context.call(global_lp_pool, x, int_attribute(node, "p", 2), axes)
    function = torch.mean if node.op_type == "GlobalAveragePool" else torch.amax
    return context.call(function, x, axes, True)


def global_lp_pool(x: Tensor, p: int, axes: tuple[int, ...]) -> Tensor:
    """See `build_lp_pool`."""
    return (x.abs() ** p).sum(axes, keepdim=True) ** (1.0 / p)
