"""Compares an artifact with integer weights with the QDQ graph it was made from."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from edgekit.core.exactness import ExactnessReport, TensorMismatch
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array, constant_array


def has_integer_weights_alone(model: ir.Model) -> bool:
    """Whether weights are dequantized and nothing is quantized while the graph runs."""
    ops = {node.op_type for node in model.graph}
    return "DequantizeLinear" in ops and "QuantizeLinear" not in ops


def compare_weights(artifact: ir.Model, source: ir.Model) -> ExactnessReport:
    """Compares the integers of all weights, and the float32 numbers that they become.

    Args:
        artifact: What `restore_weights` made; not modified.
        source: The QDQ graph; not modified.
    """
    weights = [node for node in source.graph if node.op_type == "DequantizeLinear"]
    names = [str(node.outputs[0].name) for node in weights]
    expected, restored = _constants(source, names), _constants(artifact, names)
    mismatches: list[TensorMismatch] = []
    for node, name in zip(weights, names, strict=True):
        integers = node.inputs[0]
        stored = "" if integers is None else str(integers.name)
        kept = constant_array(artifact.graph.initializers.get(stored))
        what = _difference(constant_array(integers), kept, expected[name], restored.get(name))
        if what:
            mismatches.append(
                TensorMismatch(tensor=stored, value=name, what=what[0], detail=what[1])
            )
    return ExactnessReport(
        compared_tensors=len(weights),
        differing_tensors=len(mismatches),
        mismatches=tuple(mismatches),
        float_ops=tuple(_computing(artifact)),
        custom_ops=(),
        max_lsb=None,
        forced=(),
        agreement=None,
        samples=0,
        weights_only=True,
    )


def _difference(
    wanted: Array | None, kept: Array | None, expected: Array, restored: Array | None
) -> tuple[str, str] | None:
    """What differs, and how much; None where nothing does."""
    if wanted is None or kept is None or kept.shape != wanted.shape:
        return "missing", "no initializer of that name and shape"
    if kept.dtype != wanted.dtype:
        return "type", f"{wanted.dtype.name} became {kept.dtype.name}"
    if count := int((wanted != kept).sum()):
        return "integers", f"{count} of {wanted.size} elements differ"
    if restored is None:
        return "missing", "no value of that name"
    if count := int((restored != expected).sum()):
        return "scale", f"{count} of {expected.size} restored weights differ"
    return None


def _constants(model: ir.Model, names: list[str]) -> dict[str, Array]:
    """Values of a graph that depend on constants alone, computed node by node."""
    proto = ir.to_proto(model)
    made = {name for node in proto.graph.node for name in node.output}
    graph = proto.graph
    wanted = [name for name in names if name in made]
    needed, kept = set(wanted), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del graph.node[:], graph.output[:], graph.input[:]
    graph.node.extend(kept[::-1])
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return ReferenceSession.run_once(proto, {})


def _computing(model: ir.Model) -> Iterator[str]:
    """Operators that depend on an input of the graph."""
    fed = set(model.graph.inputs)
    for node in model.graph:
        if any(value in fed for value in node.inputs):
            fed.update(node.outputs)
            yield f"{node.op_type} -> {node.outputs[0].name}"
