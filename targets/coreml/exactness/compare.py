"""The whole comparison of a package with its QDQ graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.exactness import ExactnessReport, ForcedDifference, largest_by_bits
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError
from edgekit.graph.io import load_onnx, signature_of
from edgekit.graph.quantized_integers import quantized_integers
from edgekit.graph.values import constant_array
from edgekit.measure.agreement import gives_scores, share_of_equal_answers
from edgekit.measure.feeds import random_feeds
from edgekit.targets.coreml.embedded import EmbeddedMetadata, decode
from edgekit.targets.coreml.exactness.float_operators import INVERSED, float_operators
from edgekit.targets.coreml.exactness.parameters import compare_parameters, wanted_parameters
from edgekit.targets.coreml.exactness.stored_parameters import stored_parameters
from edgekit.targets.coreml.exactness.teacher_forcing import forced_differences
from edgekit.targets.coreml.lowering.naming import identifier
from edgekit.targets.coreml.package import Package, read_package
from edgekit.targets.coreml.session import MilSession

type Array = Any

_RANDOM_SAMPLES = 2
_SIXTEEN_BITS = "Core ML has no activations of 16 bits, so they are rounded in float"
_WHY_BEYOND = "no quantized value stands before and behind it in the graph"


def compare_with_graph(
    artifact: Path, qdq: Path, samples: Sequence[Mapping[str, Array]] = ()
) -> ExactnessReport:
    """Compares integers, scales and zero points, every operator, and the outputs.

    Args:
        artifact: Package that edgekit wrote.
        qdq: The QDQ graph it should be.
        samples: Inputs of the graph; seeded random ones where none are given.

    Raises:
        InputError: If a file is missing or damaged, or the package does not say which values
            its variables hold.
    """
    package = read_package(artifact)
    embedded = decode(dict(package.description.entries), str(artifact))
    if embedded is None:
        raise InputError(
            f"{artifact} does not say which values its variables hold, so it cannot be compared "
            "tensor by tensor. Only packages of edgekit do."
        )
    graph = load_onnx(qdq)
    wanted = wanted_parameters(graph.graph)
    stored = stored_parameters(package)
    constants = _float_constants(package)
    compared, mismatches = compare_parameters(wanted, stored, embedded.origins, constants)
    weights_only = not any(node.op_type == "QuantizeLinear" for node in graph.graph)
    signature = signature_of(graph)
    feeds = list(samples) or [random_feeds(signature, seed) for seed in range(_RANDOM_SAMPLES)]
    forced, agreement = _executed(artifact, package, embedded, graph, feeds, weights_only)
    floats = _float_operators(package, graph, embedded)
    return ExactnessReport(
        compared_tensors=compared,
        differing_tensors=len({(item.tensor, item.value) for item in mismatches}),
        mismatches=tuple(mismatches),
        float_ops=tuple(floats),
        float_reasons={name: reason for name, reason in floats.items() if reason},
        custom_ops=(),
        max_lsb=max((item.lsb for item in forced), default=None),
        max_lsb_by_bits=largest_by_bits(forced),
        forced=tuple(forced),
        agreement=agreement,
        samples=len(feeds),
        weights_only=weights_only,
    )


def _executed(
    artifact: Path,
    package: Package,
    embedded: EmbeddedMetadata,
    graph: ir.Model,
    feeds: Sequence[Mapping[str, Array]],
    weights_only: bool,
) -> tuple[list[ForcedDifference], float | None]:
    """Teacher-forced differences, and agreement end to end."""
    stored = stored_parameters(package)
    forced: list[ForcedDifference] = []
    agreement = None
    with closing(MilSession(artifact, RuntimeConfig())) as session:
        if not weights_only:
            references = quantized_integers(graph, feeds)
            forced = forced_differences(
                session, package.program, stored, embedded.origins, feeds, references
            )
        # Float results that are no scores are never equal to the last digit.
        if not weights_only or gives_scores(graph.graph):
            agreement = share_of_equal_answers(session, graph, feeds)
    return forced, agreement


def _float_constants(package: Package) -> dict[str, Array]:
    """Constants of floats by the variable, with the names that precision may have added."""
    found = {}
    for function in package.program.functions.values():
        for operation in function.block.operations:
            if operation.type != "const":
                continue
            name, value = operation.outputs[0].name, operation.attributes.get("val")
            if value is None or getattr(value.type, "dtype", "") not in {"float16", "float32"}:
                continue
            array = np.asarray(package.constant(value))
            found[name] = array
            found.setdefault(name.removesuffix("_to_fp16"), array)
    return found


def _float_operators(
    package: Package, graph: ir.Model, embedded: EmbeddedMetadata
) -> dict[str, str]:
    """Operators in float with their reasons: the graph's own, or that it has them so."""
    stated = {}
    for node in graph.graph:
        reason = embedded.float_reasons.get(node.name or "")
        for output in node.outputs:
            if reason:
                stated[identifier(str(output.name))] = reason
    stated |= dict.fromkeys(_of_16_bits(graph.graph), _SIXTEEN_BITS)
    in_float = _float_in_graph(graph.graph)
    (function,) = package.program.functions.values()
    found = float_operators(function.block, stated)
    return {
        entry: reason or (_WHY_BEYOND if _belongs(entry, in_float) else "")
        for entry, reason in found.items()
    }


def _of_16_bits(graph: ir.Graph) -> set[str]:
    """Values of Q/DQ nodes of 16 bits, and of the operators between them."""
    found: set[ir.Value] = set()
    for node in graph:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        value = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
        if value is None or value.dtype not in {ir.DataType.INT16, ir.DataType.UINT16}:
            continue
        found.add(node.outputs[0])
        if node.op_type == "QuantizeLinear" and node.inputs[0] is not None:
            found.add(node.inputs[0])
        else:
            found.update(output for use in node.outputs[0].uses() for output in use.node.outputs)
    return {identifier(str(value.name)) for value in found}


def _belongs(entry: str, names: set[str]) -> bool:
    variable = entry.partition(" -> ")[2].removeprefix(INVERSED)
    return any(
        variable == name or variable.startswith((f"{name}_cast", f"{name}__")) for name in names
    )


def _float_in_graph(graph: ir.Graph) -> set[str]:
    """Values of nodes that the graph itself has in float: not between a DQ and a Q."""
    fed: dict[ir.Value, bool] = {}
    for node in graph:
        whole = node.op_type == "DequantizeLinear" or all(
            value is None or fed.get(value, constant_array(value) is not None)
            for value in node.inputs
        )
        fed.update(dict.fromkeys(node.outputs, whole))
    quantized: set[ir.Value] = set()
    for node in reversed(list(graph)):
        for value in node.outputs:
            readers = [use.node for use in value.uses()]
            if (
                readers
                and not value.is_graph_output()
                and all(
                    reader.op_type == "QuantizeLinear" or set(reader.outputs) <= quantized
                    for reader in readers
                )
            ):
                quantized.add(value)
    return {
        identifier(str(output.name))
        for node in graph
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}
        for output in node.outputs
        if not fed[output] or output not in quantized
    }
