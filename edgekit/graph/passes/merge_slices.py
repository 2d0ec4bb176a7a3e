"""Chains of slices along different axes, merged into one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import producer
from edgekit.graph.values import (
    add_initializer,
    constant_ints,
    input_at,
    is_op,
    only_consumer,
    replace_node,
)


@dataclass(frozen=True, slots=True)
class _Cut:
    """Constant parameters of a Slice, one entry an axis."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[int, ...]


class MergeSlices(GraphPass):
    """Merges Slice nodes that follow each other, as exporters write ``x[:, :, a:b, c:d]``.

    1. ``Slice(Slice(x))`` with constant parameters along different axes is one Slice, where
       nothing else reads the value between.
    2. Slices of the same axis stay: their bounds count from different origins.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "Slice"):
                continue
            inner = producer(node.inputs[0], "Slice")
            if inner is None or only_consumer(inner.outputs[0]) is not node:
                continue
            first, second = _cut(inner), _cut(node)
            if first is None or second is None or set(first.axes) & set(second.axes):
                continue
            _merge(model.graph, node, inner, first, second)
            modified = True
        return modified


def _cut(node: ir.Node) -> _Cut | None:
    value = node.inputs[0]
    starts, ends = constant_ints(input_at(node, 1)), constant_ints(input_at(node, 2))
    if starts is None or ends is None or value is None or value.shape is None:
        return None
    axes: tuple[int, ...] | None = tuple(range(len(starts)))
    if input_at(node, 3) is not None:
        axes = constant_ints(input_at(node, 3))
    steps: tuple[int, ...] | None = (1,) * len(starts)
    if input_at(node, 4) is not None:
        steps = constant_ints(input_at(node, 4))
    if axes is None or steps is None:
        return None
    return _Cut(tuple(axis % len(value.shape) for axis in axes), starts, ends, steps)


def _merge(graph: ir.Graph, node: ir.Node, inner: ir.Node, first: _Cut, second: _Cut) -> None:
    name = node.outputs[0].name
    order = np.argsort([*first.axes, *second.axes])

    def constant(kind: str, left: tuple[int, ...], right: tuple[int, ...]) -> ir.Value:
        array = np.asarray([*left, *right], np.int64)[order]
        return add_initializer(graph, f"{name}_{kind}", array)

    replace_node(
        graph,
        node,
        "Slice",
        [
            inner.inputs[0],
            constant("starts", first.starts, second.starts),
            constant("ends", first.ends, second.ends),
            constant("axes", first.axes, second.axes),
            constant("steps", first.steps, second.steps),
        ],
    )
