"""Typed access to the attributes of an ONNX node."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


class Refusal(Exception):  # noqa: N818 - not a failure of the program: the answer "not this node"
    """Raised by a lowering for a node it cannot express; collected into one error.

    Args:
        reason: Why the node is refused.
        accepted: What would be accepted.
    """

    def __init__(self, reason: str, accepted: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.accepted = accepted


def int_attribute(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def float_attribute(node: ir.Node, name: str, default: float) -> float:
    """A float attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def ints_attribute(node: ir.Node, name: str, default: Sequence[int]) -> tuple[int, ...]:
    """A list of integers, or its default."""
    attribute = node.attributes.get(name)
    return tuple(default) if attribute is None else tuple(attribute.as_ints())


def text_attribute(node: ir.Node, name: str, default: str) -> str:
    """A string attribute, or its default."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def optional_input(node: ir.Node, index: int) -> ir.Value | None:
    """Input ``index``, or None where it is omitted."""
    return node.inputs[index] if index < len(node.inputs) else None


def required_input(node: ir.Node, index: int) -> ir.Value:
    """Input ``index``; a graph without it breaks the operator's schema."""
    value = optional_input(node, index)
    if value is None:
        raise Refusal(f"input {index} is missing, which the ONNX schema requires")
    return value


def normalized_axis(axis: int, rank: int) -> int:
    """A non-negative axis; refuses one outside the rank."""
    if not -rank <= axis < rank:
        raise Refusal(f"axis {axis} is outside a tensor of rank {rank}")
    return axis % rank
