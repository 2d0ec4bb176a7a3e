"""Slice and Split."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    ints_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.coreml.lowering.emitter import Emitter, is_open, rank_of, shape_of
from edgekit.targets.coreml.lowering.ops.movement import as_numbers, restored
from edgekit.targets.coreml.lowering.registry import Var, lowers


@lowers("Slice", accepts="constant axes and steps; starts and ends also computed, with step 1")
def lower_slice(e: Emitter, node: ir.Node) -> Var:
    """Part of a tensor along some axes, backwards too."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    rank = rank_of(x)
    if "starts" in node.attributes:
        starts, ends = (list(ints_attribute(node, name)) for name in ("starts", "ends"))
        axes = list(ints_attribute(node, "axes", tuple(range(len(starts)))))
        steps = [1] * len(starts)
    else:
        if any(e.array(required_input(node, index)) is None for index in (1, 2)):
            return restored(e, _computed(e, node, x), was_bool)
        starts, ends = (e.ints(node, index, "the bounds") or [] for index in (1, 2))
        axes = e.ints(node, 3, "the axes") or list(range(len(starts)))
        steps = e.ints(node, 4, "the steps") or [1] * len(starts)
    axes = [normalized_axis(axis, rank) for axis in axes]
    result = _sliced(e, x, list(zip(axes, starts, ends, steps, strict=True)))
    return restored(e, result, was_bool)


def _sliced(e: Emitter, x: Var, cuts: list[tuple[int, int, int, int]]) -> Var:
    rank = rank_of(x)
    begin, end, stride = [0] * rank, [0] * rank, [1] * rank
    from_first, to_last = [True] * rank, [True] * rank
    for axis, first, last, step in cuts:
        size = shape_of(x)[axis]
        stride[axis] = step
        if is_open(size):
            _open_cut(axis, first, last, step, (begin, end, from_first, to_last))
            continue
        start, stop, _ = slice(first, _backward(first, last, step, int(size)), step).indices(
            int(size)
        )
        if len(range(start, stop, step)) == 0:
            raise Refusal("a slice without elements", "at least one element")
        begin[axis], from_first[axis] = start, False
        # Below 0 stands for "before the first", which MIL says by its mask alone.
        end[axis], to_last[axis] = max(stop, 0), stop < 0
    return e(
        "slice_by_index", x=x, begin=begin, end=end, stride=stride, begin_mask=from_first,
        end_mask=to_last,
    )  # fmt: skip


def _backward(first: int, last: int, step: int, size: int) -> int | None:
    """The end as Python takes it: for ONNX one before the first stands below ``-size``."""
    if step < 0 and last < -size:
        return None
    return last


def _open_cut(axis: int, first: int, last: int, step: int, bounds: Any) -> None:
    """Bounds relative to either end of an open dimension."""
    begin, end, from_first, to_last = bounds
    far = 1 << 30
    if step < 0:
        if first >= far and last <= -far:
            return
        raise Refusal("a backward slice of part of an open dimension", "fixed sizes")
    if first != 0 and first > -far:
        begin[axis], from_first[axis] = first, False
    if last < far:
        end[axis], to_last[axis] = last, False


def _computed(e: Emitter, node: ir.Node, x: Var) -> Var:
    """Bounds that the model computes, for one or several axes."""
    rank = rank_of(x)
    starts, ends = e.input(node, 1), e.input(node, 2)
    count = shape_of(starts)[0]
    if is_open(count):
        raise Refusal("an open number of sliced axes", "a fixed number")
    axes = e.ints(node, 3, "the axes") or list(range(int(count)))
    steps = e.ints(node, 4, "the steps") or [1] * int(count)
    if any(step != 1 for step in steps):
        raise Refusal("steps with computed bounds", "steps of 1")
    axes = [normalized_axis(axis, rank) for axis in axes]
    begins, stops = [], []
    sizes = e("shape", x=x)
    for axis in range(rank):
        size = e("slice_by_index", x=sizes, begin=[axis], end=[axis + 1])
        if axis not in axes:
            begins.append(e("mul", x=size, y=0))
            stops.append(size)
            continue
        at = axes.index(axis)
        for source, found in ((starts, begins), (ends, stops)):
            bound = e("slice_by_index", x=source, begin=[at], end=[at + 1])
            low = e("cast", x=e("less", x=bound, y=0), dtype="int32")
            moved = e("add", x=bound, y=e("mul", x=size, y=low))
            found.append(e("minimum", x=e("maximum", x=moved, y=0), y=size))
    begin = begins[0] if rank == 1 else e("concat", values=begins, axis=0)
    end = stops[0] if rank == 1 else e("concat", values=stops, axis=0)
    return e("slice_by_index", x=x, begin=begin, end=end)


@lowers("Split", accepts="constant sizes")
def lower_split(e: Emitter, node: ir.Node) -> list[Var]:
    """Parts along an axis: of given sizes, or of equal ones with a smaller last."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(x))
    sizes = list(ints_attribute(node, "split"))
    if not sizes and optional_input(node, 1) is not None:
        sizes = e.ints(node, 1, "the sizes") or []
    if not sizes:
        whole = shape_of(x)[axis]
        if is_open(whole):
            raise Refusal("equal parts of an open dimension", "sizes, or a fixed dimension")
        count = int_attribute(node, "num_outputs", len(node.outputs))
        part = -(-int(whole) // count)
        sizes = [part] * (count - 1) + [int(whole) - part * (count - 1)]
    if 0 in sizes:
        raise Refusal("a part without elements", "sizes of at least 1")
    if len(sizes) == 1:
        return [restored(e, x, was_bool)]
    parts = e("split", x=x, split_sizes=sizes, axis=axis)
    return [restored(e, part, was_bool) for part in parts]
