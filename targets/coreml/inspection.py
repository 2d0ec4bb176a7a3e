"""Static facts about a package, read without coremltools."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from edgekit.core.artifact import size_on_disk
from edgekit.core.signature import ModelSignature
from edgekit.core.target import Inspection, OpCount
from edgekit.errors import InputError, UnsupportedError
from edgekit.targets.coreml import native
from edgekit.targets.coreml.estimate import estimate, leaves_neural_engine
from edgekit.targets.coreml.exactness.float_operators import float_operators
from edgekit.targets.coreml.interface_map import InterfaceMap
from edgekit.targets.coreml.operator_costs import count_macs, shapes_of
from edgekit.targets.coreml.operator_facts import operator_facts
from edgekit.targets.coreml.package import Package, read_package
from edgekit.targets.coreml.package.program import Block, Function, Operation, Value
from edgekit.targets.coreml.package.types import TensorType
from edgekit.targets.coreml.runtime.naming import RUNTIME

_SHOWN = 3
_SYSTEMS = {
    "CoreML5": "iOS15, macOS12", "CoreML6": "iOS16, macOS13", "CoreML7": "iOS17, macOS14",
    "CoreML8": "iOS18, macOS15", "CoreML9": "iOS26, macOS26",
}  # fmt: skip


def inspect(path: Path) -> Inspection:
    """Static facts about a package.

    Multiply-accumulates are those of convolutions and matrix products, an open size taken as 1.

    Raises:
        InputError: If it is missing, damaged or of another format.
    """
    package = read_package(path)
    functions = package.program.functions
    main = functions.get("main") or next(iter(functions.values()))
    operations = [op for function in functions.values() for op in _all(function.block)]
    ops = Counter(op.type for op in operations if op.type != "const")
    floats = float_operators(main.block, {})
    computing = sum(count for op, count in ops.items() if not op.startswith("constexpr_"))
    quantized = ops["quantize"] > 0
    signature, embedded, mapping = _signature(package)
    return Inspection(
        path=path,
        format="coreml",
        signature=signature,
        ops=tuple(
            OpCount(op=op, count=count)
            for op, count in sorted(ops.items(), key=lambda item: (-item[1], item[0]))
        ),
        macs=count_macs(main.block, shapes_of(main)),
        parameters=_parameters(operations),
        size_bytes=size_on_disk(path),
        integer_ops=computing - len(floats) if quantized else 0,
        float_ops=len(floats) if quantized else computing,
        details=_details(package, main, ops, embedded, mapping),
        metadata=mapping.embedded.metadata if mapping and mapping.embedded else None,
    )


def _signature(package: Package) -> tuple[ModelSignature, str, InterfaceMap | None]:
    try:
        mapping = InterfaceMap.of(package)
    except InputError as error:
        # A package remains worth inspecting when only edgekit's entry in it is unusable.
        return ModelSignature(inputs=(), outputs=()), str(error), None
    return mapping.signature, "absent" if mapping.embedded is None else "present", mapping


def _all(block: Block) -> list[Operation]:
    found = list(block.operations)
    for operation in block.operations:
        for inner in operation.blocks:
            found += _all(inner)
    return found


def _details(
    package: Package,
    main: Function,
    ops: Counter[str],
    embedded: str,
    mapping: InterfaceMap | None,
) -> dict[str, str]:
    described = package.description
    compressed = {op: count for op, count in ops.items() if op.startswith("constexpr_")}
    floats = Counter(
        output.type.dtype
        for op in main.block.operations
        if op.type != "const"
        for output in op.outputs
        if isinstance(output.type, TensorType) and output.type.dtype.startswith("float")
    )
    details = {
        "specification_version": str(package.specification_version),
        "opset": main.opset,
        "oldest_systems": _SYSTEMS.get(main.opset, "not known"),
        "float_compute": " and ".join(sorted(floats)) or "none",
        "quantize_ops": str(ops["quantize"]),
        "dequantize_ops": str(ops["dequantize"]),
        "compressed_constants": ", ".join(f"{n} {op}" for op, n in sorted(compressed.items()))
        or "none",
        "states": ", ".join(item.name for item in described.states) or "none",
        "classifier": described.class_name or "no",
        "edgekit_metadata": embedded,
        "runs_here_in": RUNTIME,
    }
    details |= _outlook(package, mapping)
    if mapping is not None and mapping.image:
        details["image_input"] = mapping.image
    for name in ("author", "license", "version", "summary"):
        if text := getattr(described, name):
            details[name] = text
    return details


def _outlook(package: Package, mapping: InterfaceMap | None) -> dict[str, str]:
    """What can be said of a phone without one: a latency, and operators off its Neural Engine."""
    costs = mapping.embedded.costs if mapping is not None and mapping.embedded else None
    told = "not known: the package does not say what an inference costs"
    if costs is not None:
        told = estimate(costs).in_words()
    departures = leaves_neural_engine(operator_facts(package))
    reasons: dict[str, list[str]] = {}
    for item in departures:
        key = f"{item.reason} [{item.source.url}]"
        reasons.setdefault(key, []).append(f"{item.op} {item.name}")
    lines = []
    for reason, names in reasons.items():
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        lines.append(f"{len(names)} operators ({shown}): {reason}")
    return {
        "compute_plan": _compute_plan(package),
        "latency_estimate": told,
        "likely_off_the_neural_engine": "; ".join(lines) or "none known",
    }


def _compute_plan(package: Package) -> str:
    """Where Core ML would run the operators, where it is."""
    if reason := native.native_missing():
        return f"not known: {reason}"
    try:
        plan = native.compute_plan(package.path)
    except UnsupportedError as error:
        return f"not known: {error}"
    devices = ", ".join(f"{count} on {device}" for device, count in sorted(plan.devices.items()))
    away = ", ".join(f"{kind} {name}" for name, kind in plan.elsewhere[:_SHOWN])
    more = len(plan.elsewhere) - _SHOWN
    rest = f" and {more} more" if more > 0 else ""
    return f"{devices}; not on the Neural Engine: {away or 'none'}{rest}"


def _parameters(operations: list[Operation]) -> int:
    """Elements of float constants, and of the integers of compressed ones."""
    total = 0
    for operation in operations:
        value = operation.attributes.get("val") if operation.type == "const" else None
        if value is not None:
            total += _elements(value, floats=True)
        if operation.type.startswith("constexpr_"):
            for name in ("quantized_data", "data", "indices", "nonzero_data"):
                given = operation.attributes.get(name) or _immediate(operation, name)
                if given is not None:
                    total += _elements(given, floats=False)
    return total


def _immediate(operation: Operation, name: str) -> Value | None:
    bindings = operation.inputs.get(name, ())
    return next((item for item in bindings if isinstance(item, Value)), None)


def _elements(value: Value, *, floats: bool) -> int:
    kind = value.type
    if not isinstance(kind, TensorType) or not kind.shape:
        return 0
    if floats and not kind.dtype.startswith("float"):
        return 0
    return math.prod(size or 1 for size in kind.shape)
