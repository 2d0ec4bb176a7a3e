"""Pad in all modes."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.integers import Integers, as_ints, positive_axes
from edgekit.graph.torch_twin.registry import Built, twin_op
from edgekit.graph.torch_twin.window import pads_for_torch
from edgekit.graph.values import string_attribute


@twin_op("Pad")
def build_pad(context: TwinContext, node: ir.Node) -> Built:
    """Constant, edge, reflecting or wrapping; a negative amount cuts off."""
    return context.call(
        pad, context.tensor(node, 0), context.numbers(node, 1), context.number(node, 2),
        context.numbers(node, 3), string_attribute(node, "mode", "constant"),
    )  # fmt: skip


def pad(
    x: Tensor, pads: Integers, fill: float | Tensor | None, axes: Integers | None, mode: str
) -> Tensor:
    """See `build_pad`."""
    amounts = as_ints(pads)
    half = len(amounts) // 2
    chosen = list(range(x.ndim)) if axes is None else positive_axes(axes, x.ndim)
    begin, end = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(chosen):
        begin[axis], end[axis] = amounts[place], amounts[half + place]
    if mode == "constant":
        value = 0 if fill is None else fill.item() if isinstance(fill, Tensor) else fill
        return functional.pad(x, pads_for_torch(begin, end), value=value)
    for axis in range(x.ndim):
        if begin[axis] or end[axis]:
            index = _source(x.shape[axis], begin[axis], end[axis], mode)
            x = x.index_select(axis, index.to(x.device))
    return x


def _source(size: int, begin: int, end: int, mode: str) -> Tensor:
    """For each place of the result the place of the input that it repeats."""
    places = torch.arange(-begin, size + end)
    if mode == "edge":
        return places.clamp(0, size - 1)
    if mode == "wrap":
        return places.remainder(size)
    period = max(1, 2 * (size - 1))
    folded = places.remainder(period)
    return torch.where(folded < size, folded, period - folded)
