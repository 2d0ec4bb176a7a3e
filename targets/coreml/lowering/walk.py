"""Lowers the nodes of a graph one after the other, in the main block or a nested one."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.errors import UnsupportedNode
from edgekit.graph.node_view import Refusal
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    as_list,
    dtype_name,
    is_open,
    kind_of,
    shape_of,
)
from edgekit.targets.coreml.lowering.naming import identifier
from edgekit.targets.coreml.lowering.registry import LOWERINGS, Var

_KINDS = {"bool": "bool", "float16": "float", "bfloat16": "float", "float32": "float",
          "float64": "float"}  # fmt: skip
_MOST_AXES = 5


def lower_nodes(e: Emitter, graph: ir.Graph) -> None:
    """Emits all nodes of a graph.

    Raises:
        Refusal: For the first node that cannot be expressed.
    """
    for node in graph:
        lower_node(e, node)


def lower_all(e: Emitter, graph: ir.Graph) -> list[UnsupportedNode]:
    """Emits all nodes that can be expressed.

    Returns:
        The others, but for those that only lack what another one refused to give.
    """
    refused: list[UnsupportedNode] = []
    missing: set[ir.Value] = set()
    for node in graph:
        if any(value in missing for value in _read(node)):
            missing.update(node.outputs)
            if (node.domain, node.op_type) not in _known():
                refused.append(unsupported(e, node, _unknown(node)))
            continue
        try:
            lower_node(e, node)
        except Refusal as reason:
            refused.append(unsupported(e, node, reason))
            missing.update(node.outputs)
    return refused


def _known() -> set[tuple[str, str]]:
    return {("", op) for op in LOWERINGS}


def _read(node: ir.Node) -> list[ir.Value]:
    """Values that a node reads, in its branches and bodies too."""
    found = [value for value in node.inputs if value is not None]
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            for inner in attribute.as_graph():
                found += _read(inner)
    return found


def lower_node(e: Emitter, node: ir.Node) -> None:
    """Emits one node, and holds its results to what ONNX infers of them.

    Raises:
        Refusal: If it cannot be expressed.
    """
    support = LOWERINGS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
    if support is None:
        raise _unknown(node)
    outer = e.prefix
    e.prefix = str(node.outputs[0].name)
    try:
        results = as_list(support.lower(e, node))
    finally:
        e.prefix = outer
    for value, variable in zip(node.outputs, results, strict=False):
        if variable is None:
            continue
        _check(value, variable)
        _name(e, value, variable, f"{identifier(str(node.outputs[0].name))}__")
        e.variables[value] = variable
    for value in node.outputs[len(results) :]:
        if value.uses() or value.is_graph_output():
            raise Refusal(f"its output {value.name!r} has no counterpart")


def _unknown(node: ir.Node) -> Refusal:
    if node.domain in {"", "ai.onnx"}:
        return Refusal("MIL has no counterpart, and edgekit no lowering")
    return Refusal(f"operators of the domain {node.domain!r} are not known")


def _check(value: ir.Value, variable: Var) -> None:
    """Compares a result with the type and shape that ONNX infers.

    Raises:
        Refusal: If they differ, for then what follows would be wrong.
    """
    wanted = dtype_name(value)
    kind = _KINDS.get(wanted, "int")
    if wanted and kind_of(variable) != kind:
        raise Refusal(f"it would give {kind_of(variable)} elements where ONNX says {wanted}")
    sizes = shape_of(variable)
    if len(sizes) > _MOST_AXES:
        raise Refusal(f"a tensor of rank {len(sizes)}", f"at most {_MOST_AXES} axes")
    if value.shape is None:
        return
    known = [dim if isinstance(dim, int) else None for dim in value.shape]
    differs = len(known) != len(sizes) or any(
        dim is not None and not is_open(size) and dim != int(size)
        for dim, size in zip(known, sizes, strict=False)
    )
    if differs:
        raise Refusal(f"it would give shape {list(sizes)} where ONNX says {list(value.shape)}")


def _name(e: Emitter, value: ir.Value, variable: Var, prefix: str) -> None:
    """Calls a variable that this node made like its value."""
    if not variable.name.startswith(prefix) or variable.op is None:
        return
    name = e.names.unique(str(value.name))
    alone = len(variable.op.outputs) == 1
    variable.name = name
    if alone:
        variable.op.name = name


def unsupported(e: Emitter, node: ir.Node, reason: Refusal) -> UnsupportedNode:
    """The entry of the error that lists all refused nodes."""
    support = LOWERINGS.get(node.op_type)
    accepted = reason.accepted or (support.accepts if support else "")
    values = [value for value in node.inputs if value is not None]
    shapes = ", ".join("?" if v.shape is None else str(list(v.shape)) for v in values)
    domain = f"{node.domain}." if node.domain not in {"", "ai.onnx"} else ""
    return UnsupportedNode(
        node=node.name or str(node.outputs[0].name),
        op=f"{domain}{node.op_type}",
        opset=node.version or e.opset,
        shapes=shapes,
        dtypes=", ".join(dtype_name(value) or "?" for value in values),
        reason=reason.reason,
        accepted=accepted,
    )
