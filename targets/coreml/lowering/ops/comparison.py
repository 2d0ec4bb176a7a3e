"""Comparisons, logic and selection."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, required_input
from edgekit.targets.coreml.lowering.emitter import Emitter, dtype_name, kind_of, rank_of, shape_of
from edgekit.targets.coreml.lowering.registry import Var, lowers

_COMPARISONS = {
    "Equal": "equal", "Greater": "greater", "GreaterOrEqual": "greater_equal", "Less": "less",
    "LessOrEqual": "less_equal",
}  # fmt: skip
_LOGIC = {"And": "logical_and", "Or": "logical_or", "Xor": "logical_xor"}


@lowers(*_COMPARISONS, accepts="floats, integers of up to 32 bits, booleans for Equal")
def lower_comparison(e: Emitter, node: ir.Node) -> Var:
    """Compares element by element."""
    if dtype_name(required_input(node, 0)) in {"uint32", "uint64"} and node.op_type != "Equal":
        raise Refusal("a comparison of unsigned 32-bit integers, which Core ML does not have")
    operands = [e.input(node, index) for index in range(2)]
    if kind_of(operands[0]) == "bool":
        operands = [e("cast", x=item, dtype="int32") for item in operands]
    return e(_COMPARISONS[node.op_type], x=operands[0], y=operands[1])


@lowers(*_LOGIC, accepts="booleans")
def lower_logic(e: Emitter, node: ir.Node) -> Var:
    """Logic of two booleans."""
    return e(_LOGIC[node.op_type], x=e.input(node, 0), y=e.input(node, 1))


@lowers("Where", accepts="floats, integers and booleans")
def lower_where(e: Emitter, node: ir.Node) -> Var:
    """Takes from one tensor or the other."""
    condition, x, y = (e.input(node, index) for index in range(3))
    if kind_of(x) != "bool":
        return chosen(e, condition, x, y)
    whole = [e("cast", x=item, dtype="int32") for item in (x, y)]
    return e("cast", x=chosen(e, condition, whole[0], whole[1]), dtype="bool")


def chosen(e: Emitter, condition: Var, x: Var, y: Var) -> Var:
    """``x`` where the condition holds, else ``y``, with all three broadcast.

    coremltools infers the shape of MIL's select from ``x`` and ``y`` alone, so they are brought
    to the shape of the condition where that is larger.
    """
    rank = max(rank_of(x), rank_of(y))
    sizes = [
        {str(size) for item in (x, y) for size in _padded(shape_of(item), rank)[at]}
        for at in range(rank)
    ]
    wanted = _padded(shape_of(condition), rank)
    covered = rank_of(condition) <= rank and all(
        str(next(iter(size))) in {"1", *known} for size, known in zip(wanted, sizes, strict=True)
    )
    if not covered:
        whole = kind_of(x) == "int"
        zero = np.int32(0) if whole else np.float32(0)
        numbers = e("cast", x=condition, dtype="int32" if whole else "fp32")
        x = e("add", x=x, y=e("mul", x=numbers, y=zero))
    return e("select", cond=condition, a=x, b=y)


def _padded(sizes: tuple[Any, ...], rank: int) -> list[tuple[Any]]:
    return [(1,)] * (rank - len(sizes)) + [(size,) for size in sizes]
