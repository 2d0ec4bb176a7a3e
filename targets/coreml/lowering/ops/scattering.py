"""Scatter and its kin."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, normalized_axis, text_attribute
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    kind_of,
    rank_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.ops.gathering import counted_from_front, tuples_from_front
from edgekit.targets.coreml.lowering.ops.movement import as_numbers, restored
from edgekit.targets.coreml.lowering.registry import Var, lowers

_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


def _mode(node: ir.Node) -> str:
    reduction = text_attribute(node, "reduction", "none") or "none"
    if reduction not in _MODES:
        raise Refusal(f"reduction {reduction!r}", ", ".join(_MODES))
    return _MODES[reduction]


@lowers("ScatterElements", "Scatter", accepts="fixed sizes")
def lower_scatter_elements(e: Emitter, node: ir.Node) -> Var:
    """One element for each index, at its own place on the other axes."""
    data, was_bool = as_numbers(e, e.input(node, 0))
    updates, _ = as_numbers(e, e.input(node, 2))
    axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(data))
    indices = counted_from_front(e, node, 1, data, axis)
    sizes = static_sizes(data, "ScatterElements' data")
    wanted = static_sizes(updates, "ScatterElements' updates")
    others = [at for at in range(len(sizes)) if at != axis]
    if any(sizes[at] != wanted[at] for at in others):
        return restored(e, _by_tuples(e, node, (data, indices, updates), axis), was_bool)
    result = e(
        "scatter_along_axis", data=data, indices=indices, updates=updates, axis=axis,
        mode=_mode(node),
    )  # fmt: skip
    return restored(e, result, was_bool)


def _by_tuples(e: Emitter, node: ir.Node, operands: tuple[Var, Var, Var], axis: int) -> Var:
    """Fewer updates than data on another axis: every one gets its whole index tuple."""
    data, indices, updates = operands
    shape = static_sizes(updates, "ScatterElements' updates")
    grid = np.indices(shape).astype(np.int32)
    columns = [
        e("reshape", x=indices, shape=[-1, 1]) if at == axis else grid[at].reshape(-1, 1)
        for at in range(len(shape))
    ]
    tuples = e("concat", values=columns, axis=1) if len(columns) > 1 else columns[0]
    flat = e("reshape", x=updates, shape=[-1])
    return e("scatter_nd", data=data, indices=tuples, updates=flat, mode=_mode(node))


@lowers("ScatterND", accepts="fixed sizes of indexed axes")
def lower_scatter_nd(e: Emitter, node: ir.Node) -> Var:
    """Entries at index tuples."""
    data, was_bool = as_numbers(e, e.input(node, 0))
    updates, _ = as_numbers(e, e.input(node, 2))
    indices = tuples_from_front(e, node, 1, data)
    result = e("scatter_nd", data=data, indices=indices, updates=updates, mode=_mode(node))
    return restored(e, result, was_bool)


@lowers("TensorScatter", accepts="nothing")
def refuse_tensor_scatter(e: Emitter, node: ir.Node) -> Var:
    """Writing into caches is left to ScatterND."""
    kind_of(e.input(node, 0))
    raise Refusal("TensorScatter has no lowering yet", "ScatterND")
