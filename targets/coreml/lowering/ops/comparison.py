"""Comparisons, logic and selection."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.node_view import Refusal, required_input
from edgekit.targets.coreml.lowering.emitter import Emitter, dtype_name, kind_of
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
    """Takes from one tensor or the other; MIL's select broadcasts as ONNX does."""
    condition, x, y = (e.input(node, index) for index in range(3))
    if kind_of(x) != "bool":
        return e("select", cond=condition, a=x, b=y)
    whole = [e("cast", x=item, dtype="int32") for item in (x, y)]
    return e("cast", x=e("select", cond=condition, a=whole[0], b=whole[1]), dtype="bool")
