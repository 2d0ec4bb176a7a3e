"""Compares the constants of every Q/DQ node with what the package stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.exactness import TensorMismatch
from edgekit.graph.values import constant_array, input_at, int_attribute, is_op
from edgekit.targets.coreml.embedded import StoredOrigin
from edgekit.targets.coreml.exactness.stored_parameters import StoredParameters, find

type Array = Any

_LOWEST = {"uint8": 128, "uint4": 8}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a Q/DQ node of the graph says, in signed integers.

    Attributes:
        value: Name of its output.
        source: Name of its input.
        scale: float32.
        zero_point: int32 of the scale's shape.
        integers: int32 of a constant; None for activations.
        axis: Axis of a vector of scales.
        block: Entries of a block; 0 where there are none.
    """

    value: str
    source: str
    scale: Array
    zero_point: Array
    integers: Array | None
    axis: int
    block: int


def wanted_parameters(graph: ir.Graph) -> dict[str, Wanted]:
    """Every Q/DQ node by its output; int32 constants (biases) among them."""
    found = {}
    for node in graph:
        if not is_op(node, "QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = constant_array(input_at(node, 1)), constant_array(input_at(node, 2))
        if scale is None:
            continue
        name = str(node.outputs[0].name)
        integers = constant_array(input_at(node, 0)) if node.op_type[0] == "D" else None
        source = node.outputs[0] if node.op_type[0] == "Q" else node.inputs[0]
        dtype = "" if source is None or source.dtype is None else source.dtype.numpy().name
        moved = _LOWEST.get(dtype, 0)
        scales = np.asarray(scale, np.float32)
        zeros = np.zeros(scales.shape, np.int32) if zero is None else zero.astype(np.int32)
        found[name] = Wanted(
            value=name,
            source=str(node.inputs[0].name) if node.inputs[0] is not None else "",
            scale=scales,
            zero_point=zeros - moved,
            integers=None if integers is None else integers.astype(np.int32) - moved,
            axis=int_attribute(node, "axis", 1),
            block=int_attribute(node, "block_size", 0),
        )
    return found


def compare_parameters(
    wanted: Mapping[str, Wanted],
    stored: Mapping[str, StoredParameters],
    origins: tuple[StoredOrigin, ...],
    constants: Mapping[str, Array],
) -> tuple[int, list[TensorMismatch]]:
    """Compares every Q/DQ node.

    Args:
        wanted: Of the graph.
        stored: Of the package.
        origins: Which variable holds which value.
        constants: Other constants of the package by variable: biases, and weights that a target
            without compressed constants keeps as floats.

    Returns:
        How many were compared, and what differs.
    """
    compared, mismatches = 0, []
    by_value = {origin.value: origin for origin in origins}
    for name, node in wanted.items():
        origin = by_value.get(name)
        if origin is None:
            continue
        compared += 1
        held = find(stored, origin.variable) or _merged(node, stored, by_value)
        if held is not None:
            mismatches += _differences(node, held)
            continue
        float_constant = constants.get(origin.variable)
        if float_constant is not None and node.integers is not None:
            mismatches += _float_difference(node, origin.variable, float_constant)
            continue
        mismatches.append(_mismatch(origin.variable, name, "missing", "no operator holds it"))
    return compared, mismatches


def _merged(
    node: Wanted, stored: Mapping[str, StoredParameters], by_value: Mapping[str, StoredOrigin]
) -> StoredParameters | None:
    """The operator of the same integers that this one was merged with, where both are alike.

    coremltools keeps one of equal constants, and one of equal operators.
    """
    if node.integers is not None:
        alike = [item for item in stored.values() if item.integers is not None]
    else:
        quantizer = by_value.get(node.source)
        source = find(stored, quantizer.variable) if quantizer is not None else None
        if source is None:
            return None
        alike = [
            item
            for item in stored.values()
            if item.type == "dequantize" and item.source == source.name
        ]
    return next((item for item in alike if not _differences(node, item)), None)


def _mismatch(variable: str, value: str, what: str, detail: str) -> TensorMismatch:
    return TensorMismatch(tensor=variable, value=value, what=what, detail=detail)


def _differences(node: Wanted, held: StoredParameters) -> list[TensorMismatch]:
    integers, zero = held.signed()
    found = []
    scale = held.scale
    if node.integers is not None:
        if integers is None or integers.shape != node.integers.shape:
            return [_mismatch(held.name, node.value, "integers", "not constants of that shape")]
        found += _unequal(held.name, node.value, "integers", node.integers, integers)
        pairs = ((node.scale, scale), (node.zero_point, zero))
        spread = [
            (_over(a, node.integers, node.axis, node.block), _stored_over(b, held, node.integers))
            for a, b in pairs
        ]
    else:
        spread = [(node.scale.reshape(-1), scale.reshape(-1)),
                  (node.zero_point.reshape(-1), zero.reshape(-1))]  # fmt: skip
    for what, (wanted, actual) in zip(("scale", "zero point"), spread, strict=True):
        found += _unequal(held.name, node.value, what, wanted, actual)
    return found


def _unequal(
    variable: str, value: str, what: str, wanted: Array, actual: Array
) -> list[TensorMismatch]:
    if np.shape(wanted) != np.shape(actual):
        detail = f"shape {list(np.shape(actual))} instead of {list(np.shape(wanted))}"
        return [_mismatch(variable, value, what, detail)]
    count = int((np.asarray(wanted) != np.asarray(actual)).sum())
    if not count:
        return []
    return [_mismatch(variable, value, what, f"{count} of {np.size(wanted)} elements differ")]


def _over(parameter: Array, data: Array, axis: int, block: int) -> Array:
    """A parameter of the graph repeated over the shape of the integers."""
    if parameter.size == 1:
        return np.broadcast_to(parameter.reshape(()), data.shape)
    place = axis % data.ndim
    if block:
        return np.take(parameter, np.arange(data.shape[place]) // block, axis=place)
    shape = [1] * data.ndim
    shape[place] = -1
    return np.broadcast_to(parameter.reshape(shape), data.shape)


def _stored_over(parameter: Array, held: StoredParameters, data: Array) -> Array:
    """A parameter of the package repeated over the shape of the integers."""
    if parameter.size == 1:
        return np.broadcast_to(parameter.reshape(()), data.shape)
    if parameter.ndim == data.ndim:
        for axis, size in enumerate(data.shape):
            own = parameter.shape[axis]
            if own not in (1, size) and size % own == 0:
                parameter = np.repeat(parameter, size // own, axis=axis)
        return np.broadcast_to(parameter, data.shape)
    shape = [1] * data.ndim
    shape[(held.axis or 0) % data.ndim] = -1
    return np.broadcast_to(parameter.reshape(shape), data.shape)


def _float_difference(node: Wanted, variable: str, actual: Array) -> list[TensorMismatch]:
    """A constant that is stored as floats must be what the integers stand for, as float32."""
    assert node.integers is not None
    scale = _over(node.scale, node.integers, node.axis, node.block)
    zero = _over(node.zero_point, node.integers, node.axis, node.block)
    restored = ((node.integers - zero).astype(np.float32) * scale).astype(np.float32)
    if actual.dtype == np.float16:
        with np.errstate(over="ignore"):
            restored = restored.astype(np.float16)
    return _unequal(variable, node.value, "integers", restored, actual.reshape(restored.shape))
