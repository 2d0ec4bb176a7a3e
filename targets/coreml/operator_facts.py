"""Facts about a package's operators, as the rules of the Neural Engine read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgekit.targets.coreml.estimate import OpFacts, TensorFacts
from edgekit.targets.coreml.package import Package
from edgekit.targets.coreml.package.program import Block, Operation, Value
from edgekit.targets.coreml.package.types import TensorType

_LARGEST_ATTRIBUTE = 16


def operator_facts(package: Package) -> list[OpFacts]:
    """Every operator of all functions, those of nested blocks too; constants are none."""
    found: list[OpFacts] = []
    for function in package.program.functions.values():
        tensors = {item.name: _facts(item.type) for item in function.inputs}
        found += _of_block(package, function.block, tensors, {})
    return found


def _facts(kind: Any, *, constant: bool = False) -> TensorFacts:
    if not isinstance(kind, TensorType):
        return TensorFacts(type(kind).__name__, (), constant)
    return TensorFacts(kind.dtype, kind.shape or (), constant)


def _of_block(
    package: Package, block: Block, tensors: dict[str, TensorFacts], values: dict[str, Value]
) -> Iterator[OpFacts]:
    for item in block.inputs:
        tensors[item.name] = _facts(item.type)
    for operation in block.operations:
        constant = operation.type == "const" or operation.type.startswith("constexpr_")
        for output in operation.outputs:
            tensors[output.name] = _facts(output.type, constant=constant)
        if operation.type == "const" and "val" in operation.attributes:
            values[operation.outputs[0].name] = operation.attributes["val"]
        if constant:
            continue
        for inner in operation.blocks:
            yield from _of_block(package, inner, tensors, values)
        yield _of_operation(package, operation, tensors, values)


def _of_operation(
    package: Package,
    operation: Operation,
    tensors: dict[str, TensorFacts],
    values: dict[str, Value],
) -> OpFacts:
    inputs, attributes = {}, {}
    for name, bindings in operation.inputs.items():
        for binding in bindings[:1]:
            value = binding if isinstance(binding, Value) else values.get(binding)
            if value is not None:
                inputs[name] = _facts(value.type, constant=True)
                attribute = _attribute(package, value)
                if attribute is not None:
                    attributes[name] = attribute
            elif isinstance(binding, str) and binding in tensors:
                inputs[name] = tensors[binding]
    return OpFacts(
        type=operation.type,
        name=operation.outputs[0].name if operation.outputs else "",
        inputs=inputs,
        outputs=tuple(tensors[output.name] for output in operation.outputs),
        attributes=attributes,
    )


def _attribute(package: Package, value: Value) -> Any:
    """A small constant as Python values; None for a large one."""
    if value.blob is not None:
        return None
    data = package.constant(value)
    if isinstance(data, str):
        return data
    array = np.asarray(data)
    if array.size > _LARGEST_ATTRIBUTE or array.dtype.kind not in "biuf":
        return None
    return array.item() if array.ndim == 0 else tuple(array.reshape(-1).tolist())
