"""What a lowering reads of an ONNX node, and how it refuses one."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.values import float_attribute, int_attribute, ints_attribute
from edgekit.graph.values import string_attribute as text_attribute

__all__ = [
    "Refusal",
    "float_attribute",
    "int_attribute",
    "ints_attribute",
    "normalized_axis",
    "optional_input",
    "required_input",
    "text_attribute",
]


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
