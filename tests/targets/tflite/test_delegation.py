"""Operators inside a delegate's parts, worked out from a list as LiteRT gives it."""

from __future__ import annotations

from edgekit.targets.tflite.delegation import Delegation, delegation_of

type Node = dict[str, object]


def _node(name: str, inputs: list[int], outputs: list[int]) -> Node:
    return {"op_name": name, "inputs": inputs, "outputs": outputs}


CHAIN = [
    _node("CONV_2D", [0, 10, -1], [1]),
    _node("RELU", [1], [2]),
    _node("UNIQUE", [2], [3]),
    _node("ABS", [3], [4]),
]


def test_no_delegate() -> None:
    assert delegation_of(CHAIN) == Delegation(0, 0, 4)


def test_two_parts_around_an_operator_that_stays() -> None:
    parts = [_node("DELEGATE", [0, 10], [2]), _node("DELEGATE", [3], [4])]
    found = delegation_of(CHAIN + parts)
    assert found == Delegation(2, 3, 4)
    assert str(found) == "3 of 4 operators in 2 partitions"
    assert not found.complete


def test_one_part_of_everything() -> None:
    found = delegation_of([*CHAIN, _node("DELEGATE", [0, 10], [4])])
    assert found == Delegation(1, 4, 4)
    assert found.complete


def test_a_diamond_is_counted_once() -> None:
    nodes = [
        _node("RELU", [0], [1]),
        _node("ABS", [1], [2]),
        _node("NEG", [1], [3]),
        _node("ADD", [2, 3], [4]),
        _node("DELEGATE", [0], [4]),
    ]
    assert delegation_of(nodes) == Delegation(1, 4, 4)
