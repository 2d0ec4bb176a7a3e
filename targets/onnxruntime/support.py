"""Which nodes ONNX Runtime's CPU provider cannot run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state

from edgekit.core.target import SupportReport
from edgekit.errors import UnsupportedNode
from edgekit.targets.onnxruntime.runtime import one_line, start_quietly

_PROVIDER = "CPUExecutionProvider"
_NODE_NAME = re.compile(r"node with name '([^']*)'|[Nn]ode:? ?\(?'?([^\s')]+)")


def check_graph(model: ir.Model) -> SupportReport:
    """Lets the runtime itself load the graph; only if it refuses, looks for the nodes.

    The runtime names at most one node. Where no kernel of its registry fits, all nodes of
    that kind are listed; otherwise the one that it named, or the graph.
    """
    try:
        start_quietly(ir.to_proto(model).SerializeToString(), 1, optimize=False)
    except Exception as error:
        # ONNX Runtime's exceptions have no common base but Exception.
        without_kernel = tuple(_nodes_without_kernel(model))
        return SupportReport(unsupported=without_kernel or (_refused(model, error),))
    return SupportReport()


def _nodes_without_kernel(model: ir.Model) -> Iterator[UnsupportedNode]:
    registry = [
        kernel
        for kernel in onnxruntime_pybind11_state.get_all_opkernel_def()
        if kernel.provider == _PROVIDER
    ]
    for node in model.graph.all_nodes():
        version = model.opset_imports.get(node.domain, 1)
        reason = _why_no_kernel(node, version, registry)
        if reason:
            yield _described(node, version, reason)


def _why_no_kernel(node: ir.Node, version: int, registry: list[Any]) -> str:
    """Why the runtime has no kernel; empty when it has one, or a definition to expand."""
    try:
        schema: Any = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        schema = None
    if schema is not None and (schema.has_function or schema.has_context_dependent_function):
        return ""
    kernels = [
        kernel
        for kernel in registry
        if (kernel.op_name, kernel.domain) == (node.op_type, node.domain)
    ]
    if not kernels:
        return f"ONNX Runtime {onnxruntime.__version__} has no CPU kernel for it"
    since = schema.since_version if schema is not None else version
    fitting = [kernel for kernel in kernels if _covers(kernel, since)]
    if not fitting:
        return f"ONNX Runtime {onnxruntime.__version__} has no CPU kernel of opset {since}"
    dtype = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
    if dtype is None or schema is None or not schema.inputs:
        return ""
    accepted = {name for kernel in fitting for name in _types(kernel, schema.inputs[0].type_str)}
    wanted = f"tensor({_ort_name(dtype)})"
    if accepted and wanted not in accepted:
        return f"its CPU kernels take {', '.join(sorted(accepted))}, not {wanted}"
    return ""


def _covers(kernel: Any, since: int) -> bool:
    first, last = kernel.version_range
    return bool(first <= since <= last)


def _types(kernel: Any, parameter: str) -> list[str]:
    return list(kernel.type_constraints.get(parameter, ()))


def _ort_name(dtype: ir.DataType) -> str:
    return {"FLOAT": "float", "DOUBLE": "double"}.get(dtype.name, dtype.name.lower())


def _refused(model: ir.Model, error: Exception) -> UnsupportedNode:
    """The node that the runtime's message names, or a stand-in for the whole graph."""
    reason = one_line(error)
    named = {group for match in _NODE_NAME.finditer(reason) for group in match.groups() if group}
    for node in model.graph.all_nodes():
        if node.name in named:
            return _described(node, model.opset_imports.get(node.domain, 1), reason)
    return UnsupportedNode(
        node=model.graph.name or "",
        op="(graph)",
        opset=model.opset_imports.get("", 1),
        shapes="?",
        dtypes="?",
        reason=reason,
    )


def _described(node: ir.Node, version: int, reason: str) -> UnsupportedNode:
    values = [value for value in node.inputs if value is not None]
    return UnsupportedNode(
        node=node.name or "",
        op=f"{node.domain}::{node.op_type}" if node.domain else node.op_type,
        opset=version,
        shapes=", ".join(str(value.shape) if value.shape is not None else "?" for value in values),
        dtypes=", ".join(value.dtype.name if value.dtype else "?" for value in values),
        reason=reason,
    )
