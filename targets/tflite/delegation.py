"""How much of a graph a delegate (XNNPACK) took over in a loaded interpreter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_DELEGATE = "DELEGATE"


@dataclass(frozen=True, slots=True)
class Delegation:
    """Share of a delegate in a graph.

    Attributes:
        partitions: Parts of the graph that the delegate runs, each as one node.
        delegated: Operators inside those parts.
        total: Operators of the graph.
        parts: Operators inside each of those parts by their places, in the order in which the
            parts run.
    """

    partitions: int
    delegated: int
    total: int
    parts: tuple[tuple[int, ...], ...] = field(default=(), compare=False)

    @property
    def complete(self) -> bool:
        """Whether the delegate runs the whole graph as one part."""
        return self.partitions == 1 and self.delegated == self.total

    def __str__(self) -> str:
        """For reports: ``11 of 43 operators in 3 partitions``."""
        return f"{self.delegated} of {self.total} operators in {self.partitions} partitions"


def delegation_of(nodes: Iterable[Mapping[str, object]]) -> Delegation:
    """Works out the share of the delegate.

    The interpreter lists the operators of the file, followed by one node for each part
    that the delegate took; it does not say which operators are inside. They are those
    met on the way back from the part's outputs to its inputs.

    Args:
        nodes: ``Interpreter._get_ops_details()`` after ``allocate_tensors()``.
    """
    operators: list[Mapping[str, object]] = []
    parts: list[Mapping[str, object]] = []
    for node in nodes:
        (parts if node["op_name"] == _DELEGATE else operators).append(node)
    producers = {
        index: place for place, node in enumerate(operators) for index in _indices(node["outputs"])
    }
    members = []
    for part in parts:
        inside: set[int] = set()
        seen = set(_indices(part["inputs"]))
        waiting = list(_indices(part["outputs"]))
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            place = producers.get(index)
            if place is not None:
                inside.add(place)
                waiting += _indices(operators[place]["inputs"])
        members.append(tuple(sorted(inside)))
    delegated = len({place for part in members for place in part})
    return Delegation(len(parts), delegated, len(operators), tuple(members))


def _indices(value: object) -> Sequence[int]:
    assert isinstance(value, Iterable)
    return [int(index) for index in value if int(index) >= 0]
