"""Matching of small expressions of elementwise ops, backwards from their last node."""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.graph.values import constant_scalar, is_op


def producer(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that makes ``value``, when it is one of the given types of the standard domain."""
    node = value.producer() if value is not None else None
    return node if is_op(node, *op_types) else None


def with_constant(
    value: ir.Value | None, op_type: str, constant: float, tolerance: float = 1e-4
) -> ir.Value | None:
    """The operand ``x`` where ``value`` is ``x <op> constant``; None otherwise.

    Multiplication is also recognised as a division by the inverse and either order of the
    operands of Mul and Add is tried.

    Args:
        value: End of the expression.
        op_type: ``"Mul"``, ``"Add"`` or ``"Div"``.
        constant: The constant operand.
        tolerance: Accepted relative difference; exporters write rounded constants.
    """
    node = producer(value, op_type)
    if node is not None:
        for kept, other in ((0, 1), (1, 0)) if op_type in {"Mul", "Add"} else ((0, 1),):
            found = constant_scalar(node.inputs[other])
            if found is not None and math.isclose(found, constant, rel_tol=tolerance):
                return node.inputs[kept]
    if op_type in {"Mul", "Div"} and constant != 0:
        inverse = producer(value, "Div" if op_type == "Mul" else "Mul")
        if inverse is not None:
            for kept, other in ((0, 1), (1, 0)) if inverse.op_type == "Mul" else ((0, 1),):
                found = constant_scalar(inverse.inputs[other])
                if found is not None and math.isclose(found, 1 / constant, rel_tol=tolerance):
                    return inverse.inputs[kept]
    return None


def other_operand(node: ir.Node, value: ir.Value | None) -> ir.Value | None:
    """The operand of a node of two inputs that is not ``value``; None if it has neither."""
    if len(node.inputs) != 2:
        return None
    if node.inputs[0] is value:
        return node.inputs[1]
    return node.inputs[0] if node.inputs[1] is value else None


def operands(node: ir.Node) -> tuple[tuple[ir.Value | None, ir.Value | None], ...]:
    """Both orders of the operands of a commutative node of two inputs."""
    if len(node.inputs) != 2:
        return ()
    return ((node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0]))
