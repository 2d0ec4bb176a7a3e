"""Gather and its kin."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, normalized_axis, required_input
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    is_open,
    rank_of,
    shape_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.ops.movement import as_numbers, restored
from edgekit.targets.coreml.lowering.registry import Var, lowers


def counted_from_front(e: Emitter, node: ir.Node, index: int, x: Var, axis: int) -> Any:
    """Indices along an axis without negative ones, which not every system takes."""
    known = e.array(required_input(node, index))
    size = shape_of(x)[axis]
    if known is not None and not is_open(size):
        return np.where(known < 0, known + int(size), known).astype(np.int32)
    indices = e.input(node, index)
    if known is not None and (known >= 0).all():
        return indices
    if is_open(size):
        length: Any = e("gather", x=e("shape", x=x), indices=np.int32(axis), axis=0)
    else:
        length = np.int32(int(size))
    low = e("cast", x=e("less", x=indices, y=np.int32(0)), dtype="int32")
    return e("add", x=indices, y=e("mul", x=low, y=length))


@lowers("Gather", accepts="results of up to 5 axes")
def lower_gather(e: Emitter, node: ir.Node) -> Var:
    """Entries along one axis."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(x))
    indices = counted_from_front(e, node, 1, x, axis)
    rank = rank_of(x) - 1 + len(indices.shape)
    if rank > 5:
        raise Refusal(f"a tensor of rank {rank}", "at most 5 axes")
    return restored(e, e("gather", x=x, indices=indices, axis=axis), was_bool)


@lowers("GatherElements", accepts="fixed sizes")
def lower_gather_elements(e: Emitter, node: ir.Node) -> Var:
    """One element for each index, at its own place on the other axes."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(x))
    indices = counted_from_front(e, node, 1, x, axis)
    wanted, sizes = tuple(indices.shape), static_sizes(x, "GatherElements' data")
    if any(is_open(size) for size in wanted):
        raise Refusal("indices of open sizes", "fixed sizes")
    # MIL wants both of equal size besides the axis; ONNX allows fewer indices.
    end = [size if at == axis else int(wanted[at]) for at, size in enumerate(sizes)]
    if tuple(end) != sizes:
        x = e("slice_by_index", x=x, begin=[0] * len(sizes), end=end)
    return restored(e, e("gather_along_axis", x=x, indices=indices, axis=axis), was_bool)


@lowers("GatherND", accepts="results of up to 5 axes; batch_dims from iOS16")
def lower_gather_nd(e: Emitter, node: ir.Node) -> Var:
    """Entries at index tuples."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    batch = int_attribute(node, "batch_dims", 0)
    indices = tuples_from_front(e, node, 1, x, batch)
    depth = indices.shape[-1]
    rank = len(indices.shape) - 1 + rank_of(x) - batch - int(depth)
    if rank > 5:
        raise Refusal(f"a tensor of rank {rank}", "at most 5 axes")
    if batch and not e.options.at_least("iOS16"):
        raise Refusal("batch_dims", "deployment target iOS16 or later")
    more = {"batch_dims": batch} if batch else {}
    return restored(e, e("gather_nd", x=x, indices=indices, **more), was_bool)


def tuples_from_front(e: Emitter, node: ir.Node, index: int, x: Var, batch: int = 0) -> Any:
    """Index tuples without negative numbers."""
    known = e.array(required_input(node, index))
    shape = known.shape if known is not None else shape_of(e.input(node, index))
    if is_open(shape[-1]):
        raise Refusal("index tuples of an open length", "a fixed length")
    sizes = shape_of(x)[batch : batch + int(shape[-1])]
    if any(is_open(size) for size in sizes):
        if known is not None and (known >= 0).all():
            return known.astype(np.int32)
        raise Refusal("index tuples into an open dimension", "fixed sizes")
    lengths = np.array([int(size) for size in sizes], np.int32)
    if known is not None:
        return np.where(known < 0, known + lengths, known).astype(np.int32)
    indices = e.input(node, index)
    low = e("cast", x=e("less", x=indices, y=np.int32(0)), dtype="int32")
    return e("add", x=indices, y=e("mul", x=low, y=lengths))


@lowers("Compress", accepts="a constant condition")
def lower_compress(e: Emitter, node: ir.Node) -> Var:
    """Entries where the condition holds."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    chosen = np.flatnonzero(e.required_array(node, 1, "the condition")).astype(np.int32)
    if not chosen.size:
        raise Refusal("a selection without elements", "at least one")
    if "axis" not in node.attributes:
        x, axis = e("reshape", x=x, shape=[-1]), 0
    else:
        axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(x))
    return restored(e, e("gather", x=x, indices=chosen, axis=axis), was_bool)
