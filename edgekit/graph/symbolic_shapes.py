"""Following vectors of sizes through the nodes that compute them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.core.signature import Dim
from edgekit.graph.signature import dims_of
from edgekit.graph.values import (
    constant_array,
    constant_ints,
    input_at,
    int_attribute,
    is_op,
)

if TYPE_CHECKING:
    import numpy.typing as npt

_TRANSPARENT = ("Cast", "Squeeze", "Unsqueeze", "Identity", "Reshape")
"""Ops that keep the elements of a vector of at most one dimension, in order."""


class ShapeVectors:
    """Elements of integer vectors that are computed from shapes.

    An element is an int, or the name of a symbolic dim. Results are remembered, so an
    instance must not outlive a change of the graph's shapes.
    """

    def __init__(self) -> None:
        self._known: dict[ir.Value, tuple[Dim, ...] | None] = {}

    def elements(self, value: ir.Value | None) -> tuple[Dim, ...] | None:
        """Elements of ``value`` in order; None when it is not such a vector."""
        if value is None:
            return None
        if value not in self._known:
            self._known[value] = self._compute(value)
        return self._known[value]

    def array(self, value: ir.Value) -> npt.NDArray[np.generic] | None:
        """The constant that ``value`` always has; None when a dim is symbolic or unknown."""
        node = value.producer()
        if node is None or value.dtype is None or not _follows(node):
            return None
        elements, shape = self.elements(value), dims_of(value)
        if elements is None or shape is None or len(shape) > 1:
            return None
        numbers = [element for element in elements if isinstance(element, int)]
        if len(numbers) != len(elements):
            return None
        return np.asarray(numbers, value.dtype.numpy()).reshape(() if not shape else (-1,))

    def reshape_target(self, node: ir.Node) -> tuple[int, ...] | None:
        """Constant target of a Reshape: one symbolic element becomes -1.

        Returns:
            None when the elements cannot be followed, or more than one is symbolic.
        """
        elements = self.elements(node.inputs[1])
        if elements is None:
            return None
        free = [element for element in elements if not isinstance(element, int) or element < 0]
        if len(free) > 1 or (free and 0 in elements):
            return None
        return tuple(item if isinstance(item, int) else -1 for item in elements)

    def _compute(self, value: ir.Value) -> tuple[Dim, ...] | None:
        if constant_array(value) is not None:
            array = constant_array(value)
            if array is None or array.ndim > 1:
                return None
            return constant_ints(value)
        node = value.producer()
        if node is None or not _follows(node):
            return None
        if node.op_type == "Shape":
            return _of_shape(node)
        if node.op_type == "Concat":
            parts = [self.elements(item) for item in node.inputs]
            known = [part for part in parts if part is not None]
            return sum(known, ()) if len(known) == len(parts) else None
        source = self.elements(node.inputs[0])
        if source is None:
            return None
        if node.op_type == "Gather":
            return _gather(source, constant_ints(node.inputs[1]))
        if node.op_type == "Slice":
            return _slice(node, source)
        shape = dims_of(value)
        return source if shape is not None and len(shape) <= 1 else None


def _follows(node: ir.Node) -> bool:
    return is_op(node, "Shape", "Concat", "Gather", "Slice", *_TRANSPARENT)


def _of_shape(node: ir.Node) -> tuple[Dim, ...] | None:
    value = node.inputs[0]
    dims = dims_of(value) if value is not None else None
    if dims is None:
        return None
    start = int_attribute(node, "start", 0)
    end = int_attribute(node, "end", len(dims))
    picked = dims[start:end]
    return None if "?" in picked else picked


def _gather(source: Sequence[Dim], indices: tuple[int, ...] | None) -> tuple[Dim, ...] | None:
    if indices is None or any(not -len(source) <= index < len(source) for index in indices):
        return None
    return tuple(source[index] for index in indices)


def _slice(node: ir.Node, source: tuple[Dim, ...]) -> tuple[Dim, ...] | None:
    starts, ends = constant_ints(input_at(node, 1)), constant_ints(input_at(node, 2))
    steps = (1,) if input_at(node, 4) is None else constant_ints(input_at(node, 4))
    if not (starts and ends and steps) or not len(starts) == len(ends) == len(steps) == 1:
        return None
    if steps[0] < 1:
        return None
    return source[starts[0] : ends[0] : steps[0]]
