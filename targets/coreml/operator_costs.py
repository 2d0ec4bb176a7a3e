"""Multiply-accumulates of a MIL program.

One is one product added to a sum, as `edgekit.graph.inspect` counts them; operators other than
convolutions and matrix products count as 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgekit.targets.coreml.package.program import Block, Function, Operation, Value
from edgekit.targets.coreml.package.types import TensorType

type Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(function: Function) -> dict[str, tuple[int, ...]]:
    """Sizes of all values of the main block, open ones as 1."""
    named = list(function.inputs)
    for operation in function.block.operations:
        named += operation.outputs
    return {
        item.name: tuple(size or 1 for size in item.type.shape or ())
        for item in named
        if isinstance(item.type, TensorType)
    }


def count_macs(block: Block, shapes: Shapes) -> int:
    """Multiply-accumulates of one run of a block."""
    return sum(macs_of(operation, shapes) for operation in block.operations)


def _shape(operation: Operation, name: str, shapes: Shapes) -> tuple[int, ...]:
    binding = operation.inputs.get(name, ("",))[0]
    if isinstance(binding, Value):
        kind = binding.type
        return (
            tuple(size or 1 for size in kind.shape or ()) if isinstance(kind, TensorType) else ()
        )
    return shapes.get(binding, ())


def macs_of(operation: Operation, shapes: Shapes) -> int:
    """Multiply-accumulates of one run of an operator."""
    if operation.type not in {"conv", "conv_transpose", "linear", "matmul"}:
        return 0
    output = math.prod(shapes[operation.outputs[0].name])
    if operation.type == "conv":
        return output * math.prod(_shape(operation, "weight", shapes)[1:])
    if operation.type == "conv_transpose":
        weight = _shape(operation, "weight", shapes)
        return math.prod(_shape(operation, "x", shapes)) * math.prod(weight[1:])
    if operation.type == "linear":
        return output * _shape(operation, "weight", shapes)[-1]
    return output * (_shape(operation, "x", shapes)[-1:] or (1,))[0]
