"""Slice, the Gather and Scatter families, and other operators that choose elements."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.integers import Integers, as_ints
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import input_at, int_attribute, string_attribute

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}
"""torch's names of what happens where several updates meet."""


@twin_op("Slice")
def build_slice(context: TwinContext, node: ir.Node) -> Built:
    """Ranges with a step, also backwards."""
    return context.call(
        slice_of, context.tensor(node, 0), *(context.numbers(node, index) for index in range(1, 5))
    )


def slice_of(
    x: Tensor,
    starts: Integers,
    ends: Integers,
    axes: Integers | None = None,
    steps: Integers | None = None,
) -> Tensor:
    """See `build_slice`; starts and ends beyond the axis are moved to its border."""
    first, last = as_ints(starts), as_ints(ends)
    dims = list(range(len(first))) if axes is None else as_ints(axes)
    strides = [1] * len(first) if steps is None else as_ints(steps)
    for start, end, dim, step in zip(first, last, dims, strides, strict=True):
        chosen = range(*slice(start, end, step).indices(x.shape[dim]))
        if step > 0:
            index = [slice(None)] * x.ndim
            index[dim] = slice(chosen.start, max(chosen.stop, chosen.start), step)
            x = x[tuple(index)]
        else:
            x = x.index_select(dim, torch.tensor(list(chosen), dtype=torch.int64, device=x.device))
    return x


@twin_op("Gather", parameters=(0,))
def build_gather(context: TwinContext, node: ir.Node) -> Built:
    """Slices at indices along an axis; negative indices count from the end."""
    axis = int_attribute(node, "axis", 0)
    index = context.array(node, 1)
    if index is not None and index.ndim == 0:
        return context.call(torch.select, context.tensor(node, 0), axis, int(index))
    return context.call(gather, context.tensor(node, 0), context.tensor(node, 1), axis)


def gather(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """See `build_gather`."""
    axis = axis + x.ndim if axis < 0 else axis
    flat = _counted_from_front(indices.reshape(-1), x.shape[axis])
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return x.index_select(axis, flat).reshape(shape)


def _counted_from_front(indices: Tensor, size: int) -> Tensor:
    whole = indices.to(torch.int64)
    return torch.where(whole < 0, whole + size, whole)


@twin_op("GatherElements")
def build_gather_elements(context: TwinContext, node: ir.Node) -> Built:
    """Single elements along an axis."""
    axis = int_attribute(node, "axis", 0)
    return context.call(gather_elements, context.tensor(node, 0), context.tensor(node, 1), axis)


def gather_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """See `build_gather_elements`."""
    return torch.gather(x, axis, _counted_from_front(indices, x.shape[axis]))


@twin_op("GatherND")
def build_gather_nd(context: TwinContext, node: ir.Node) -> Built:
    """Slices at index vectors, within the same batch."""
    batch = int_attribute(node, "batch_dims", 0)
    return context.call(gather_nd, context.tensor(node, 0), context.tensor(node, 1), batch)


def gather_nd(x: Tensor, indices: Tensor, batch: int) -> Tensor:
    """See `build_gather_nd`."""
    depth = indices.shape[-1]
    lead = [
        torch.arange(size, device=x.device).reshape(
            [-1 if axis == place else 1 for axis in range(indices.ndim - 1)]
        )
        for place, size in enumerate(indices.shape[:batch])
    ]
    chosen = [
        _counted_from_front(indices[..., place], x.shape[batch + place]) for place in range(depth)
    ]
    return x[(*lead, *chosen)]


@twin_op("ScatterElements")
def build_scatter_elements(context: TwinContext, node: ir.Node) -> Built:
    """Writes single elements along an axis into a copy."""
    reduction = string_attribute(node, "reduction", "none")
    return context.call(
        scatter_elements, *context.tensors(node), int_attribute(node, "axis", 0),
        _REDUCTIONS.get(reduction, ""),
    )  # fmt: skip


def scatter_elements(
    x: Tensor, indices: Tensor, updates: Tensor, axis: int, reduction: str
) -> Tensor:
    """See `build_scatter_elements`."""
    index = _counted_from_front(indices, x.shape[axis])
    if not reduction:
        return x.scatter(axis, index, updates)
    return x.scatter_reduce(axis, index, updates, reduce=reduction, include_self=True)


@twin_op("ScatterND")
def build_scatter_nd(context: TwinContext, node: ir.Node) -> Built:
    """Writes slices at index vectors into a copy."""
    reduction = string_attribute(node, "reduction", "none")
    return context.call(scatter_nd, *context.tensors(node), _REDUCTIONS.get(reduction, ""))


def scatter_nd(x: Tensor, indices: Tensor, updates: Tensor, reduction: str) -> Tensor:
    """See `build_scatter_nd`."""
    depth = indices.shape[-1]
    rows = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=x.device)
    for place in range(depth):
        size = x.shape[place]
        rows = rows * size + _counted_from_front(indices[..., place], size)
    tail = list(x.shape[depth:])
    flat = x.reshape(-1, *tail)
    source = updates.reshape(-1, *tail)
    index = rows.reshape(-1, *([1] * len(tail))).expand(source.shape)
    if reduction:
        result = flat.scatter_reduce(0, index, source, reduce=reduction, include_self=True)
    else:
        result = flat.scatter(0, index, source)
    return result.reshape(x.shape)


@twin_op("Compress")
def build_compress(context: TwinContext, node: ir.Node) -> Built:
    """Slices where a mask is true; elements of the flat tensor without an axis."""
    axis = node.attributes.get("axis")
    return context.call(
        compress, context.tensor(node, 0), context.tensor(node, 1),
        None if axis is None else axis.as_int(),
    )  # fmt: skip


def compress(x: Tensor, mask: Tensor, axis: int | None) -> Tensor:
    """See `build_compress`."""
    chosen = torch.nonzero(mask).reshape(-1)
    return x.reshape(-1)[chosen] if axis is None else x.index_select(axis, chosen)


@twin_op("NonZero")
def build_non_zero(context: TwinContext, node: ir.Node) -> Built:
    """Indices of all elements that are not zero, one column each."""
    return context.call(non_zero, context.tensor(node, 0))


def non_zero(x: Tensor) -> Tensor:
    """See `build_non_zero`."""
    return torch.nonzero(x).t()


@twin_op("ReverseSequence")
def build_reverse_sequence(context: TwinContext, node: ir.Node) -> Built:
    """Turns round the first elements of each sequence."""
    time, batch = int_attribute(node, "time_axis", 0), int_attribute(node, "batch_axis", 1)
    value = input_at(node, 0)
    if value is None or {time, batch} != {0, 1}:
        raise Refusal(f"time_axis {time} and batch_axis {batch}", "0 and 1")
    return context.call(reverse_sequence, context.tensor(node, 0), context.tensor(node, 1), time)


def reverse_sequence(x: Tensor, lengths: Tensor, time: int) -> Tensor:
    """See `build_reverse_sequence`; batch is the other one of the first two axes."""
    steps = torch.arange(x.shape[time], device=x.device)
    until = lengths.to(torch.int64)
    if time == 0:
        turned = torch.where(steps[:, None] < until, until - 1 - steps[:, None], steps[:, None])
    else:
        turned = torch.where(steps < until[:, None], until[:, None] - 1 - steps, steps)
    index = turned.reshape(*turned.shape, *([1] * (x.ndim - 2))).expand(x.shape)
    return torch.gather(x, time, index)
