"""What a graph must satisfy before edgekit touches it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import InputError, UnsupportedError

_MAX_LISTED = 5


def check_graph(model: ir.Model, where: Path | str) -> None:
    """Checks ops and weights of ``model``.

    Args:
        model: Not modified.
        where: File or source, for messages.

    Raises:
        UnsupportedError: If nodes use ops that the standard domain does not define at the
            model's opset; all of them are listed.
        InputError: If a weight holds NaN or infinity.
    """
    _check_ops(model, where)
    _check_weights(model, where)


def _check_ops(model: ir.Model, where: Path | str) -> None:
    opset = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    local = {(function.domain, function.name) for function in model.functions.values()}
    unknown: defaultdict[str, list[str]] = defaultdict(list)
    for graph in model.graphs():
        for node in graph:
            if (node.domain, node.op_type) in local:
                continue
            if node.domain not in ("", "ai.onnx"):
                kind = f"{node.domain}::{node.op_type} (custom domain)"
            elif not onnx.defs.has(node.op_type, opset, ""):
                kind = f"{node.op_type} (not in opset {opset})"
            else:
                continue
            outputs = [output.name for output in node.outputs if output.name]
            unknown[kind].append(node.name or next(iter(outputs), "without a name"))
    if not unknown:
        return
    lines = [f"{where} uses {len(unknown)} op(s) that standard ONNX does not define:"]
    for kind, names in sorted(unknown.items()):
        listed = ", ".join(map(repr, names[:_MAX_LISTED]))
        more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
        lines.append(f"  - {kind}: node {listed}{more}")
    lines.append("Export the model with standard ops only (ai.onnx, opset 7 or later)")
    raise UnsupportedError("\n".join(lines))


def _check_weights(model: ir.Model, where: Path | str) -> None:
    bad = []
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        array = tensor.numpy()
        broken = int(array.size - np.count_nonzero(np.isfinite(array.astype(np.float32))))
        if broken:
            bad.append(f"{value.name} ({broken} of {array.size})")
    if bad:
        listed = ", ".join(bad[:_MAX_LISTED])
        more = f" and {len(bad) - _MAX_LISTED} more" if len(bad) > _MAX_LISTED else ""
        raise InputError(
            f"{where} holds NaN or infinite weights in {listed}{more}; "
            "the model did not train or was damaged, and cannot be converted"
        )
