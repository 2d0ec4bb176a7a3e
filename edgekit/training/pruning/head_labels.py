"""Which positions of a value belong to which attention head, from what reads it to what makes it.

A layer behind attention reads the heads side by side along its channels. From there each
operator tells along which axis of its inputs the same heads lie. Nothing need be known of how
an attention is written, only how operators move numbers. That each head stands for itself
(no Softmax over heads, say) is not decided here; `verification` finds it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from edgekit.graph.torch_twin.ops.concat import split
from edgekit.graph.torch_twin.ops.shape import (
    expand,
    flatten,
    reshape,
    shape_of,
    size_of,
    squeeze,
    unsqueeze,
)
from edgekit.graph.torch_twin.ops.slicing import gather, slice_of

NO_HEAD = -1
"""Label of a position that nothing behind attention reads, as other parts of a split."""
type Shapes = Mapping[str, tuple[int, ...]]
"""Sizes by name of the fx node."""


class HeadsLost(Exception):  # noqa: N818 - an answer: these are no heads that can be removed
    """Raised where the heads of a value cannot be told apart; its text is the reason."""


@dataclass(frozen=True, slots=True)
class Labels:
    """The heads of a value.

    Attributes:
        axis: Along which they lie, counted from the front.
        heads: Number of the head at each position of the axis, or `NO_HEAD`.
    """

    axis: int
    heads: tuple[int, ...]

    def joined(self, other: Labels) -> Labels:
        """What two readers know of the same value.

        Raises:
            HeadsLost: If they disagree.
        """
        pairs = tuple(zip(self.heads, other.heads, strict=True))
        if self.axis != other.axis or any(
            left != right and NO_HEAD not in (left, right) for left, right in pairs
        ):
            raise HeadsLost("parts of its attention take different channels for the same head")
        return Labels(self.axis, tuple(max(pair) for pair in pairs))


def data_inputs(node: fx.Node) -> tuple[fx.Node, ...]:
    """The values whose numbers a node passes on, not what states sizes or places."""
    if node.target is operator.getitem:
        (parts, _) = node.args
        assert isinstance(parts, fx.Node)
        return data_inputs(parts)
    if node.target in _MOVES or node.target is split:
        return tuple(item for item in node.args[:1] if isinstance(item, fx.Node))
    return tuple(node.all_input_nodes)


def readers(node: fx.Node) -> Iterator[fx.Node]:
    """Nodes that read the numbers of a value; instead of a split each of its parts."""
    for user in node.users:
        if user.target is split:
            yield from user.users
        elif user.target not in (shape_of, size_of) and (
            user.op != "call_function" or node in data_inputs(user)
        ):
            yield user


def labels_of_inputs(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    """The labels of what a node reads.

    Args:
        node: Calls a function of a twin.
        labels: Of its output.
        shapes: Of both.

    Returns:
        By input; one that all heads share, as a mask of all, has none.

    Raises:
        HeadsLost: If the heads do not lie along one axis of an input.
    """
    rule = _RULES.get(node.target, _elementwise)
    return rule(node, labels, shapes)


def _source(node: fx.Node) -> fx.Node:
    return data_inputs(node)[0]


def _moved(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    """Any form of reshape: the numbers stay in their order."""
    source = _source(node)
    shape, wanted = shapes[node.name], shapes[source.name]
    heads = torch.tensor(labels.heads, dtype=torch.int16)
    full = _along(heads, labels.axis, shape).reshape(wanted)
    for axis in range(len(wanted)):
        place: list[int | slice] = [0] * len(wanted)
        place[axis] = slice(None)
        found = full[tuple(place)]
        if len(found) > 1 and torch.equal(_along(found, axis, wanted), full):
            return {source: Labels(axis, tuple(found.tolist()))}
    raise HeadsLost(
        f"a reshape of its attention, from {list(wanted)} to {list(shape)}, mixes heads with "
        "something else"
    )


def _along(heads: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    return heads.reshape([-1 if at == axis else 1 for at in range(len(shape))]).expand(shape)


def _permuted(node: fx.Node, labels: Labels, _: Shapes) -> dict[fx.Node, Labels]:
    order: Any = node.args[1]
    return {_source(node): Labels(int(order[labels.axis]) % len(order), labels.heads)}


def _expanded(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    return _broadcast(_source(node), labels, len(shapes[node.name]), shapes)


def _selected(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    source = _source(node)
    axis = int(str(node.args[1])) % len(shapes[source.name])
    return {source: Labels(labels.axis + (labels.axis >= axis), labels.heads)}


def _gathered(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    source = _source(node)
    axis = int(str(node.args[2])) % len(shapes[source.name])
    added = len(shapes[node.name]) - len(shapes[source.name])
    if labels.axis < axis:
        return {source: labels}
    if labels.axis > axis + added:
        return {source: Labels(labels.axis - added, labels.heads)}
    raise HeadsLost("a Gather of its attention chooses among heads")


def _sliced(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    source = _source(node)
    places = sliced_places(node, labels.axis, shapes[source.name])
    return {source: _filled(labels, places, shapes[source.name])}


def sliced_places(node: fx.Node, axis: int, shape: Sequence[int]) -> range:
    """The positions along an axis of its input that a slice takes.

    Raises:
        HeadsLost: If they are computed.
    """
    given: list[Any] = [*node.args[1:], None, None]
    starts, ends, axes, steps = given[:4]
    if not isinstance(starts, (list, tuple)) or not isinstance(ends, (list, tuple)):
        raise HeadsLost("a Slice of its attention computes where it begins or ends")
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not isinstance(axes, (list, tuple, range)) or not isinstance(steps, (list, tuple)):
        raise HeadsLost("a Slice of its attention computes its axes or steps")
    for start, end, at, step in zip(starts, ends, axes, steps, strict=True):
        if int(str(at)) % len(shape) == axis:
            bounds = slice(int(str(start)), int(str(end)), int(str(step)))
            return range(*bounds.indices(shape[axis]))
    return range(shape[axis])


def _part(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    """One output of a split."""
    (parts, index) = node.args
    source = _source(node)
    if not isinstance(parts, fx.Node) or parts.target is not split:
        raise HeadsLost("its attention reads one of several outputs of an operator")
    axis = int(str(parts.args[2])) % len(shapes[source.name])
    if axis != labels.axis:
        return {source: labels}
    before = sorted((int(str(user.args[1])), shapes[user.name][axis]) for user in parts.users)
    if len(before) != int(str(parts.args[3])):
        raise HeadsLost("a part of a Split in its attention is not used")
    start = sum(size for at, size in before if at < int(str(index)))
    places = range(start, start + shapes[node.name][axis])
    return {source: _filled(labels, places, shapes[source.name])}


def _filled(labels: Labels, places: range, shape: Sequence[int]) -> Labels:
    heads = [NO_HEAD] * shape[labels.axis]
    for place, head in zip(places, labels.heads, strict=True):
        heads[place] = head
    return Labels(labels.axis, tuple(heads))


def _concatenated(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    parts: Any = node.args[0]
    axis = int(str(node.args[1])) % len(shapes[node.name])
    if axis != labels.axis:
        return dict.fromkeys(parts, labels)
    found: dict[fx.Node, Labels] = {}
    start = 0
    for part in parts:
        end = start + shapes[part.name][axis]
        own = Labels(axis, labels.heads[start:end])
        found[part] = own.joined(found[part]) if part in found else own
        start = end
    return found


def _multiplied(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    left, right = data_inputs(node) if len(data_inputs(node)) == 2 else data_inputs(node) * 2
    rank = len(shapes[node.name])
    if len(shapes[left.name]) < 2 or len(shapes[right.name]) < 2:
        raise HeadsLost("a product of its attention is one with a vector")
    if labels.axis == rank - 2:
        return _broadcast(left, labels, rank, shapes)
    if labels.axis == rank - 1:
        return _broadcast(right, labels, rank, shapes)
    return {
        **_broadcast(left, labels, rank, shapes),
        **_broadcast(right, labels, rank, shapes),
    }


def _summed_products(node: fx.Node, labels: Labels, _: Shapes) -> dict[fx.Node, Labels]:
    """Einsum."""
    terms, arrow, result = str(node.args[0]).partition("->")
    if not arrow or "." in terms:
        raise HeadsLost(f"its attention has an Einsum without named axes, {node.args[0]}")
    letter = result[labels.axis]
    return {
        source: Labels(term.index(letter), labels.heads)
        for source, term in zip(node.args[1:], terms.split(","), strict=True)
        if letter in term and isinstance(source, fx.Node)
    }


def _elementwise(node: fx.Node, labels: Labels, shapes: Shapes) -> dict[fx.Node, Labels]:
    """What keeps its place; an operator that only looks like it is found by verification."""
    sources = data_inputs(node)
    shape = shapes.get(node.name)
    known = [shapes[source.name] for source in sources if source.name in shapes]
    if len(known) == 1 == len(sources) and shape is not None and _keeps(known[0], shape, labels):
        return {sources[0]: labels}
    if len(known) != len(sources) or shape is None or not _broadcasts(known, shape):
        raise HeadsLost(f"its attention has an operator, {node.name}, that moves heads about")
    found: dict[fx.Node, Labels] = {}
    for source in sources:
        found.update(_broadcast(source, labels, len(shape), shapes))
    return found


def _broadcasts(sources: Sequence[tuple[int, ...]], shape: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(*sources) == shape
    except ValueError:
        return False


def _keeps(source: tuple[int, ...], shape: tuple[int, ...], labels: Labels) -> bool:
    """True where an operator reduced other axes to 1."""
    return (
        len(source) == len(shape)
        and source[labels.axis] == shape[labels.axis]
        and all(size in (1, was) for was, size in zip(source, shape, strict=True))
    )


def _broadcast(
    source: fx.Node, labels: Labels, rank: int, shapes: Shapes
) -> dict[fx.Node, Labels]:
    shape = shapes[source.name]
    axis = labels.axis - rank + len(shape)
    if axis < 0 or shape[axis] == 1:
        return {}
    return {source: Labels(axis, labels.heads)}


_MOVES: dict[Any, Callable[[fx.Node, Labels, Shapes], dict[fx.Node, Labels]]] = {
    reshape: _moved, flatten: _moved, squeeze: _moved, unsqueeze: _moved,
    torch.permute: _permuted, expand: _expanded, torch.select: _selected, gather: _gathered,
    slice_of: _sliced,
}  # fmt: skip
_RULES: dict[Any, Callable[[fx.Node, Labels, Shapes], dict[fx.Node, Labels]]] = {
    **_MOVES,
    operator.getitem: _part,
    torch.cat: _concatenated,
    torch.matmul: _multiplied,
    torch.einsum: _summed_products,
}
