"""What is done to the graph before the walk."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
from onnx import inliner

from edgekit.targets.coreml.lowering.registry import LOWERINGS


def prepare(model: ir.Model) -> ir.Model:
    """A copy whose operators without a lowering are written out where ONNX defines them.

    ONNX defines many operators by a function of simpler ones (its standard's function bodies).
    """
    names = {
        (node.domain, node.op_type)
        for node in model.graph.all_nodes()
        if node.domain in {"", "ai.onnx"} and node.op_type not in LOWERINGS
    }
    proto = ir.to_proto(model)
    defined = [
        ("", op) for _, op in sorted(names) if _has_body(op, model.opset_imports.get("", 1))
    ]
    if defined:
        proto = _inlined(proto, defined)
    nodes = model.graph.all_nodes()
    if defined or any(value.dtype is None for node in nodes for value in node.outputs):
        proto = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    return ir.from_proto(proto)


def _inlined(proto: onnx.ModelProto, functions: list[tuple[str, str]]) -> onnx.ModelProto:
    """The graph with functions written out, as it was where ONNX fails to do so.

    The operators that stay are refused by name.
    """
    try:
        made = inliner.inline_selected_functions(
            proto, functions, exclude=False, inline_schema_functions=True
        )
        onnx.checker.check_model(made)
    except (RuntimeError, ValueError, onnx.checker.ValidationError):
        return proto
    return made


def _has_body(op: str, opset: int) -> bool:
    try:
        schema: Any = onnx.defs.get_schema(op, opset, "")
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)
