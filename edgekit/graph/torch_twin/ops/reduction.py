"""Reductions over axes, ArgMax and ArgMin, TopK, CumSum."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.integers import Integers, as_ints, positive_axes
from edgekit.graph.torch_twin.registry import Built, twin_op
from edgekit.graph.values import int_attribute


def _extreme(x: Tensor, axes: list[int], keep: bool, highest: bool) -> Tensor:
    if any(x.shape[axis] == 0 for axis in axes):
        sizes = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        empty = x.new_full(sizes, _bound(x.dtype, highest=not highest))
        return empty if keep else empty.squeeze(axes)
    function = torch.amax if highest else torch.amin
    return function(x, dim=axes, keepdim=keep)


def _bound(dtype: torch.dtype, highest: bool) -> float | int | bool:
    if dtype == torch.bool:
        return highest
    if dtype.is_floating_point:
        return math.inf if highest else -math.inf
    limits = torch.iinfo(dtype)
    return limits.max if highest else limits.min


def _sum(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    return torch.sum(x, dim=axes, keepdim=keep, dtype=x.dtype)


def _mean(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, dim=axes, keepdim=keep)
    count = math.prod(x.shape[axis] for axis in axes)
    return torch.div(_sum(x, axes, keep), count, rounding_mode="trunc").to(x.dtype)


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, dim=axis, keepdim=keep, dtype=x.dtype)
    return x


_REDUCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": lambda x, axes, keep: _extreme(x, axes, keep, True),
    "ReduceMin": lambda x, axes, keep: _extreme(x, axes, keep, False),
    "ReduceProd": _product,
    "ReduceL1": lambda x, axes, keep: _sum(x.abs(), axes, keep),
    "ReduceL2": lambda x, axes, keep: _root(_sum(x * x, axes, keep)),
    "ReduceSumSquare": lambda x, axes, keep: _sum(x * x, axes, keep),
    "ReduceLogSum": lambda x, axes, keep: torch.log(_sum(x, axes, keep)),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, dim=axes, keepdim=keep),
}


def _root(x: Tensor) -> Tensor:
    return torch.sqrt(x) if x.is_floating_point() else torch.sqrt(x.double()).to(x.dtype)


@twin_op(*_REDUCTIONS)
def build_reduction(context: TwinContext, node: ir.Node) -> Built:
    """Over the axes of the second input; over all, or none, where there are none."""
    return context.call(
        reduce, context.tensor(node, 0), node.op_type, context.numbers(node, 1),
        bool(int_attribute(node, "keepdims", 1)),
        bool(int_attribute(node, "noop_with_empty_axes", 0)),
    )  # fmt: skip


def reduce(
    x: Tensor, op: str, axes: Integers | None, keep: bool, empty_means_none: bool
) -> Tensor:
    """Applies the reduction ``op``; see `build_reduction`."""
    chosen = [] if axes is None else positive_axes(axes, x.ndim)
    if not chosen:
        if empty_means_none and op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"):
            return x
        # The other reductions still apply their function to every element.
        chosen = [] if empty_means_none else list(range(x.ndim))
    if not chosen:
        return _REDUCTIONS[op](x.unsqueeze(0), [0], False)
    return _REDUCTIONS[op](x, chosen, keep)


@twin_op("ArgMax", "ArgMin")
def build_arg(context: TwinContext, node: ir.Node) -> Built:
    """Index of the first, or of the last, extreme element along an axis."""
    return context.call(
        arg_extreme, context.tensor(node, 0), node.op_type == "ArgMax",
        int_attribute(node, "axis", 0), bool(int_attribute(node, "keepdims", 1)),
        bool(int_attribute(node, "select_last_index", 0)),
    )  # fmt: skip


def arg_extreme(x: Tensor, highest: bool, axis: int, keep: bool, last: bool) -> Tensor:
    """See `build_arg`; ``int64``."""
    extreme = x.amax(axis, keepdim=True) if highest else x.amin(axis, keepdim=True)
    found = (x == extreme).to(torch.int8)
    if last:
        index = x.shape[axis] - 1 - found.flip(axis).argmax(axis, keepdim=keep)
    else:
        index = found.argmax(axis, keepdim=keep)
    return index


@twin_op("TopK")
def build_top_k(context: TwinContext, node: ir.Node) -> Built:
    """The highest or lowest elements in order; of equal ones the first comes first."""
    result = context.call(
        top_k, context.tensor(node, 0), context.numbers(node, 1), int_attribute(node, "axis", -1),
        bool(int_attribute(node, "largest", 1)),
    )  # fmt: skip
    return context.item(result, 0), context.item(result, 1)


def top_k(x: Tensor, count: Integers, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """Values and ``int64`` indices; see `build_top_k`."""
    values, indices = torch.sort(x, dim=axis, descending=largest, stable=True)
    k = as_ints(count)[0]
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k)


@twin_op("CumSum")
def build_cum_sum(context: TwinContext, node: ir.Node) -> Built:
    """Running sums along an axis, from either end, with or without the element itself."""
    return context.call(
        cum_sum, context.tensor(node, 0), context.numbers(node, 1),
        bool(int_attribute(node, "exclusive", 0)), bool(int_attribute(node, "reverse", 0)),
    )  # fmt: skip


def cum_sum(x: Tensor, axis: Integers, exclusive: bool, reverse: bool) -> Tensor:
    """See `build_cum_sum`."""
    dim = as_ints(axis)[0]
    x = x.flip(dim) if reverse else x
    result = torch.cumsum(x, dim=dim, dtype=x.dtype)
    if exclusive:
        result = result - x
    return result.flip(dim) if reverse else result
