"""What a graph must satisfy before edgekit touches it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import InputError, UnsupportedError
from edgekit.graph.values import Array, constant_array, is_op

_MAX_LISTED = 5
_LONG_NAME = "ai.onnx"


def shorten_domain(proto: onnx.ModelProto) -> None:
    """Writes the standard domain as ``""``, its other name being ``"ai.onnx"``, in place."""
    for holder in (*proto.opset_import, *_nodes(proto.graph.node)):
        if holder.domain == _LONG_NAME:
            holder.domain = ""


def check_ops(proto: onnx.ModelProto, where: Path | str) -> None:
    """Checks that every op is one of standard ONNX or a function of the model itself.

    Args:
        proto: With the short name of the standard domain; not modified.
        where: File or source, for messages.

    Raises:
        UnsupportedError: Listing all other ops with the nodes that use them.
    """
    opset = next(entry.version for entry in proto.opset_import if not entry.domain)
    local = {(function.domain, function.name) for function in proto.functions}
    unknown: defaultdict[str, list[str]] = defaultdict(list)
    for node in _nodes(proto.graph.node):
        if (node.domain, node.op_type) in local:
            continue
        if node.domain:
            kind = f"{node.domain}::{node.op_type} (custom domain)"
        elif not onnx.defs.has(node.op_type, opset, ""):
            kind = f"{node.op_type} (not in opset {opset})"
        else:
            continue
        outputs = [name for name in node.output if name]
        unknown[kind].append(node.name or next(iter(outputs), "without a name"))
    if not unknown:
        return
    lines = [f"{where} uses {len(unknown)} op(s) that standard ONNX does not define:"]
    for kind, names in sorted(unknown.items()):
        lines.append(f"  - {kind}: node {_listed([repr(name) for name in names])}")
    lines.append("Export the model with standard ops only (ai.onnx, opset 7 or later)")
    raise UnsupportedError("\n".join(lines))


def check_validity(proto: onnx.ModelProto, path: Path) -> None:
    """Runs ONNX's own checker: names, attributes, types, data.

    Args:
        proto: Content of the file.
        path: The file; read again where its weights lie beside it.

    Raises:
        InputError: With the checker's reason.
    """
    external = any(
        tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer
    )
    try:
        onnx.checker.check_model(str(path) if external else proto)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split("\n\n", 1)[0].split())
        raise InputError(f"{path} holds no valid ONNX graph: {reason}") from error


def check_weights(model: ir.Model, where: Path | str) -> None:
    """Checks that all constants are finite.

    Args:
        model: Not modified.
        where: File or source, for messages.

    Raises:
        InputError: Naming the tensors that hold NaN or infinity.
    """
    bad = []
    for name, array in _floating_constants(model):
        broken = int(array.size - np.count_nonzero(np.isfinite(array.astype(np.float32))))
        if broken:
            bad.append(f"{name} ({broken} of {array.size})")
    if bad:
        raise InputError(
            f"{where} holds NaN or infinite weights in {_listed(bad)}; "
            "the model did not train or was damaged, and cannot be converted"
        )


def _nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """All nodes with those of their subgraphs."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _floating_constants(model: ir.Model) -> Iterator[tuple[str, Array]]:
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype.is_floating_point():
            yield value.name or "", tensor.numpy()
    for node in model.graph:
        if is_op(node, "Constant"):
            array = constant_array(node.outputs[0])
            if array is not None and array.dtype.kind not in "OSU":
                yield node.outputs[0].name or "", array


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _MAX_LISTED} more" if len(items) > _MAX_LISTED else ""
    return ", ".join(items[:_MAX_LISTED]) + more
