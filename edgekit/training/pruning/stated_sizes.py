"""Sizes that a graph states as numbers: where an fx graph has them, and where the ONNX graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from torch import fx

from edgekit.graph.torch_twin.ops.concat import split
from edgekit.graph.torch_twin.ops.shape import expand, reshape
from edgekit.graph.torch_twin.ops.slicing import slice_of
from edgekit.graph.torch_twin.twin import VALUE
from edgekit.graph.values import add_initializer, constant_ints, input_at
from edgekit.training.pruning.head_labels import HeadsLost, Labels, Shapes, sliced_places

_STATES: dict[Callable[..., Any], tuple[str, tuple[int, ...]]] = {
    reshape: ("Reshape", (1,)),
    expand: ("Expand", (1,)),
    slice_of: ("Slice", (1, 2)),
    split: ("Split", (1,)),
}
"""Operators by function of the twin, and which of their inputs state sizes or places."""


@dataclass(frozen=True, slots=True)
class StatedSize:
    """A number that shrinks with the heads.

    Attributes:
        node: Name of the fx node.
        argument: Which of its arguments holds the number.
        element: At which place.
        counted: Heads of the positions that the number counts.
    """

    node: str
    argument: int
    element: int
    counted: tuple[int, ...]

    def shrink(self, node: fx.Node, gone: Collection[int]) -> None:
        """Writes the number without the positions of some heads into the node."""
        numbers: Any = node.args[self.argument]
        new = list(numbers)
        new[self.element] -= sum(head in gone for head in self.counted)
        node.update_arg(self.argument, tuple(new))


def stated_sizes(
    nodes: Iterable[fx.Node], labels: Mapping[fx.Node, Labels], shapes: Shapes
) -> tuple[StatedSize, ...]:
    """Where nodes state how many positions of heads there are.

    Args:
        nodes: Of an fx graph.
        labels: The heads of their values, where they have some.
        shapes: Sizes of all values.

    Raises:
        HeadsLost: If a size is computed, or a form is not known.
    """
    found: list[StatedSize] = []
    seen: set[fx.Node] = set()
    for node in nodes:
        if node in labels and node.target in (reshape, expand):
            found += _sizes(node, labels[node], shapes)
        elif node in labels and node.target is slice_of:
            found += _bounds(node, labels, shapes)
        parts = node.args[0] if node.args else None
        if node in labels and isinstance(parts, fx.Node) and parts.target is split:
            if parts not in seen:
                found += _part_sizes(parts, labels, shapes)
            seen.add(parts)
    return tuple(found)


def _sizes(node: fx.Node, labels: Labels, shapes: Shapes) -> list[StatedSize]:
    numbers = node.args[1]
    if not isinstance(numbers, (list, tuple)):
        raise HeadsLost("the number of its heads is computed from the size of the input")
    element = labels.axis - len(shapes[node.name]) + len(numbers)
    # -1 follows from the others, 0 is the input's size, and 1 of an Expand any size.
    if element < 0 or int(str(numbers[element])) in (-1, 0, 1):
        return []
    return [StatedSize(node.name, 1, element, labels.heads)]


def _bounds(node: fx.Node, labels: Mapping[fx.Node, Labels], shapes: Shapes) -> list[StatedSize]:
    (source, starts, ends, axes, *_) = (*node.args, None, None)
    assert isinstance(source, fx.Node)
    axis, shape = labels[source].axis, shapes[source.name]
    places = sliced_places(node, axis, shape)
    if len(places) == shape[axis]:
        return []
    assert isinstance(starts, (list, tuple))
    assert isinstance(ends, (list, tuple))
    along = list(axes) if isinstance(axes, (list, tuple)) else list(range(len(starts)))
    element = [int(str(at)) % len(shape) for at in along].index(axis)
    start, end = int(str(starts[element])), int(str(ends[element]))
    if places.step != 1 or start < 0 or end < 0:
        raise HeadsLost("a Slice of its attention takes every other channel, or counts backwards")
    heads = labels[source].heads
    return [
        StatedSize(node.name, 1, element, heads[:start]),
        StatedSize(node.name, 2, element, heads[:end]),
    ]


def _part_sizes(
    node: fx.Node, labels: Mapping[fx.Node, Labels], shapes: Shapes
) -> list[StatedSize]:
    source, sizes = node.args[0], node.args[1]
    assert isinstance(source, fx.Node)
    axis = int(str(node.args[2])) % len(shapes[source.name])
    if axis != labels[source].axis or sizes is None:
        return []
    if not isinstance(sizes, (list, tuple)):
        raise HeadsLost("a Split of its attention computes its sizes")
    found, start = [], 0
    for element, size in enumerate(sizes):
        end = start + int(str(size))
        found.append(StatedSize(node.name, 1, element, labels[source].heads[start:end]))
        start = end
    return found


def write_sizes(fx_graph: fx.Graph, graph: ir.Graph) -> None:
    """Writes the sizes that a twin states into its ONNX graph, each as a constant of its own.

    Args:
        fx_graph: Of a twin.
        graph: What the twin was made of; changed in place.
    """
    by_output = {value.name: node for node in graph for value in node.outputs}
    for node in fx_graph.nodes:
        if node.target not in _STATES:
            continue
        op, arguments = _STATES[node.target]
        for written in _written(node, op, by_output):
            for index in arguments:
                if index < len(node.args):
                    _write(graph, written, index, node.args[index])


def _written(
    node: fx.Node, op: str, by_output: Mapping[str | None, ir.Node]
) -> tuple[ir.Node, ...]:
    """The ONNX nodes of such an operator that an fx node stands for."""
    named = node.users if op == "Split" else (node,)
    names = [name for item in named for name in item.meta.get(VALUE, ())]
    found = [by_output[name] for name in names if name in by_output]
    return tuple(dict.fromkeys(item for item in found if item.op_type == op))


def _write(graph: ir.Graph, node: ir.Node, index: int, numbers: object) -> None:
    if not isinstance(numbers, Sequence):
        return
    wanted = tuple(int(number) for number in numbers)
    if constant_ints(input_at(node, index)) != wanted:
        value = add_initializer(graph, f"{node.name}/sizes", np.array(wanted, np.int64))
        node.replace_input_with(index, value)
