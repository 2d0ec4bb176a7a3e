"""Quantized values of a package: integers, scales and zero points as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgekit.targets.coreml.package import Package
from edgekit.targets.coreml.package.program import Block, Operation, Value

type Array = Any

_QUANTIZERS = {"quantize", "dequantize", "constexpr_affine_dequantize",
               "constexpr_blockwise_shift_scale"}  # fmt: skip
_DATA = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
}
_ZERO = {"constexpr_blockwise_shift_scale": "offset"}
_SUFFIXES = ("", "_cast_fp16", "_cast_ios17", "_cast_ios16", "_cast_ios18")
"""What coremltools' passes add to the name of a variable whose operator they write anew."""


@dataclass(frozen=True, slots=True)
class StoredParameters:
    """One quantizing operator.

    Attributes:
        name: Variable that it writes.
        type: Operator type.
        scale: float32.
        zero_point: int32 of the scale's shape; zeros where there is none.
        integers: int32 for constants; None for activations.
        axis: Axis of a vector of scales; None where there is none or the scale has the
            integers' rank.
        dtype: Type of the stored integers of a constant, or of an activation.
        source: Variable that is read; empty for constants.
    """

    name: str
    type: str
    scale: Array
    zero_point: Array
    integers: Array | None
    axis: int | None
    dtype: str
    source: str = ""

    def signed(self) -> tuple[Array | None, Array]:
        """Integers and zero points as those of a signed type: unsigned ones stand 128 higher."""
        moved = 128 if self.dtype == "uint8" else 8 if self.dtype == "uint4" else 0
        integers = None if self.integers is None else self.integers - moved
        return integers, self.zero_point - moved


def stored_parameters(package: Package) -> dict[str, StoredParameters]:
    """All quantizing operators by the variable that they write.

    Raises:
        InputError: If a constant cannot be read.
    """
    found: dict[str, StoredParameters] = {}
    for function in package.program.functions.values():
        constants = _constants(function.block)
        types = _types(function.block)
        for operation in function.block.operations:
            if operation.type in _QUANTIZERS:
                item = _read(package, operation, constants, types)
                found[item.name] = item
    return found


def find(parameters: Mapping[str, StoredParameters], variable: str) -> StoredParameters | None:
    """The operator that wrote a variable, whatever the passes made of its name."""
    for suffix in _SUFFIXES:
        if variable + suffix in parameters:
            return parameters[variable + suffix]
    return None


def _constants(block: Block) -> dict[str, Value]:
    return {
        operation.outputs[0].name: operation.attributes["val"]
        for operation in block.operations
        if operation.type == "const" and "val" in operation.attributes
    }


def _types(block: Block) -> dict[str, str]:
    return {
        output.name: getattr(output.type, "dtype", "")
        for operation in block.operations
        for output in operation.outputs
    }


def _read(
    package: Package,
    operation: Operation,
    constants: Mapping[str, Value],
    types: Mapping[str, str],
) -> StoredParameters:
    def array(name: str) -> Array | None:
        bindings = operation.inputs.get(name)
        if not bindings:
            # Compressed constants keep their parameters among the attributes.
            value = operation.attributes.get(name)
            return None if value is None else np.asarray(package.constant(value))
        binding = bindings[0]
        value = constants.get(binding) if isinstance(binding, str) else binding
        return None if value is None else np.asarray(package.constant(value))

    kind = operation.type
    scale = array("scale")
    zero = array(_ZERO.get(kind, "zero_point"))
    data = array(_DATA[kind]) if kind in _DATA else None
    axis = array("axis")
    scales = np.asarray(0.0 if scale is None else scale, np.float32)
    zeros = np.zeros(scales.shape, np.int32) if zero is None else np.asarray(zero, np.int32)
    if zeros.shape != scales.shape:
        zeros = np.broadcast_to(zeros, scales.shape)
    return StoredParameters(
        name=operation.outputs[0].name,
        type=kind,
        scale=scales,
        zero_point=zeros,
        integers=None if data is None else data.astype(np.int32),
        axis=None if axis is None else int(axis.reshape(-1)[0]),
        dtype=_dtype(operation, constants, types, data),
        source=_source(operation),
    )


def _source(operation: Operation) -> str:
    bindings = operation.inputs.get("input", ())
    return next((item for item in bindings if isinstance(item, str)), "")


def _dtype(
    operation: Operation, constants: Mapping[str, Value], types: Mapping[str, str], data: Any
) -> str:
    if operation.type == "quantize":
        return types[operation.outputs[0].name]
    key = _DATA.get(operation.type, "input")
    bindings = operation.inputs.get(key)
    if bindings and isinstance(bindings[0], str) and bindings[0] in types:
        return types[bindings[0]]
    value = operation.attributes.get(key) if not bindings else bindings[0]
    if isinstance(value, Value):
        return str(getattr(value.type, "dtype", ""))
    return "" if data is None else str(data.dtype)
