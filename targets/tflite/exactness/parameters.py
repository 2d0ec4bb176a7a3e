"""Compares integers, scales and zero points of a .tflite file with those of a QDQ graph.

The integers are read from the file and brought back to ONNX's axis order by the rules of the
formats, independently of how they were written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.exactness import TensorMismatch
from edgekit.graph.node_view import int_attribute
from edgekit.targets.tflite.exactness.blocks import compare_blocks
from edgekit.targets.tflite.exactness.stored_model import StoredModel, StoredTensor
from edgekit.targets.tflite.lowering.quantization import (
    Parameter,
    QuantizedValues,
    TensorType,
    parameters_of,
    read_quantized_values,
    readers,
    signed,
)
from edgekit.targets.tflite.tensor_origin import TensorOrigin

type Array = npt.NDArray[Any]

_MATRIX = 2
_LINE = 3
_IMAGE = 4
_WIDENED_BIAS = ("int32", "int64")
"""A bias whose layer sums 16-bit activations in int64; the integers are the same."""


@dataclass(frozen=True, slots=True)
class ParameterComparison:
    """Tensors compared, and those that differ."""

    compared: int
    mismatches: tuple[TensorMismatch, ...]


def compare_parameters(
    graph: ir.Graph, model: StoredModel, origins: tuple[TensorOrigin, ...]
) -> ParameterComparison:
    """Compares every weight, bias and integer activation.

    Args:
        graph: The QDQ graph.
        model: The .tflite file.
        origins: Which value each activation tensor holds.
    """
    quantized = read_quantized_values(graph)
    mismatches: list[TensorMismatch] = []
    compared = 0
    for value, parameter in quantized.constants.items():
        stored = model.constants_named(str(value.name))
        if not stored:
            if readers(value):
                mismatches.append(_missing(value))
            continue
        for tensor in stored:
            compared += 1
            mismatches += _compare_constant(value, parameter, tensor)
    expected = _activation_types(graph, quantized)
    by_name = {origin.tensor: origin for origin in origins}
    for tensor in model.integer_activations():
        origin = by_name.get(tensor.name)
        if origin is None or origin.value not in expected:
            continue
        compared += 1
        mismatches += _compare_type(origin.value, expected[origin.value], tensor)
    return ParameterComparison(compared, tuple(mismatches))


def _activation_types(graph: ir.Graph, quantized: QuantizedValues) -> dict[str, TensorType]:
    """Type that the graph states for each value and each QuantizeLinear's output."""
    types = {str(value.name): kind for value, kind in quantized.activations.items()}
    for node in graph:
        if node.op_type == "QuantizeLinear":
            types[str(node.outputs[0].name)] = signed(parameters_of(node))
    return types


def _missing(value: ir.Value) -> TensorMismatch:
    return TensorMismatch(
        tensor="", value=str(value.name), what="missing", detail="no tensor of that name"
    )


def _compare_type(value: str, expected: TensorType, tensor: StoredTensor) -> list[TensorMismatch]:
    found = []

    def differs(what: str, wanted: object, stored: object) -> None:
        found.append(
            TensorMismatch(
                tensor=tensor.name, value=value, what=what, detail=f"{wanted} became {stored}"
            )
        )

    if tensor.dtype != expected.dtype and (expected.dtype, tensor.dtype) != _WIDENED_BIAS:
        differs("type", expected.dtype, tensor.dtype)
    quantization = expected.quantization
    if quantization is None:
        return found
    wanted = np.array(quantization.scales, np.float32)
    if not np.array_equal(wanted, tensor.scales):
        differs("scale", wanted[:4].tolist(), tensor.scales[:4].tolist())
    if not np.array_equal(np.array(quantization.zero_points), tensor.zero_points):
        differs("zero point", quantization.zero_points[:4], tensor.zero_points[:4].tolist())
    return found


def _compare_constant(
    value: ir.Value, parameter: Parameter, tensor: StoredTensor
) -> list[TensorMismatch]:
    quantization = parameter.type.quantization
    if quantization is not None and quantization.block_size:
        return compare_blocks(value, parameter, tensor)
    found = _compare_type(str(value.name), parameter.type, tensor)
    if tensor.data is None:
        return [*found, _missing(value)]
    candidates = list(_in_onnx_order(value, parameter.array, tensor.data))
    if not any(np.array_equal(parameter.array, candidate) for candidate in candidates):
        detail = "of another shape"
        if candidates:
            count = min(int((parameter.array != candidate).sum()) for candidate in candidates)
            detail = f"{count} of {parameter.array.size} elements differ"
        found.append(
            TensorMismatch(
                tensor=tensor.name, value=str(value.name), what="integers", detail=detail
            )
        )
    return found


def _in_onnx_order(value: ir.Value, array: Array, stored: Array) -> Iterator[Array]:
    """The stored integers in ONNX's order, for each operator that reads them."""
    for node, index in readers(value):
        if index == 1 and node.op_type in {"Conv", "ConvTranspose"}:
            depthwise = node.op_type == "Conv" and int_attribute(node, "group", 1) > 1
            # Depthwise [1, H, W, M]; a grouped CONV_2D is [M, H, W, C/g] like an ungrouped one.
            depthwise = depthwise and array.shape[1] == 1 and stored.shape[0] == 1
            if stored.ndim != _IMAGE:
                continue
            moved = stored.transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
            if node.op_type == "ConvTranspose":
                moved = stored.transpose(3, 0, 1, 2)
            # One spatial axis is stored as an image of height 1.
            if array.ndim == _LINE and moved.shape[2] == 1:
                moved = moved[:, :, 0]
            if moved.shape == array.shape:
                yield moved
        elif index == 1 and node.op_type in {"Gemm", "MatMul"} and stored.ndim == _MATRIX:
            rows = stored if int_attribute(node, "transB", 0) else stored.T
            for moved in _feature_orders(node, rows, transposed=rows is stored):
                if moved.shape == array.shape:
                    yield moved
        else:
            yield from _elementwise_orders(array, stored)
            if node.op_type == "MatMul" and array.ndim == stored.ndim:
                yield from _batch_orders(array, stored)


def _feature_orders(node: ir.Node, weights: Array, *, transposed: bool) -> Iterator[Array]:
    """Weights as they are, and with features that were flattened channels last in ONNX's order."""
    yield weights
    value = node.inputs[0]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type in {"Reshape", "Flatten"}:
            source = producer.inputs[0]
            shape = list(source.shape) if source is not None and source.shape is not None else []
            if len(shape) in {_LINE, _IMAGE} and all(isinstance(dim, int) for dim in shape[1:]):
                sizes = [int(str(dim)) for dim in shape[1:]]
                order = np.arange(np.prod(sizes)).reshape(sizes)
                stored_order = np.moveaxis(order, 0, -1).reshape(-1)
                restored = np.argsort(stored_order)
                if restored.size != weights.shape[1 if transposed else 0]:
                    # Heads of attention are joined here, not an image flattened.
                    return
                yield weights[:, restored] if transposed else weights[restored]
            return
        if producer.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            return
        value = producer.inputs[0]


def _batch_orders(array: Array, stored: Array) -> Iterator[Array]:
    """A factor of a product with its batch axes in every order."""
    batches = stored.ndim - _MATRIX
    for order in permutations(range(batches)):
        moved = stored.transpose(*order, batches, batches + 1)
        if moved.shape == array.shape:
            yield moved


def _elementwise_orders(array: Array, stored: Array) -> Iterator[Array]:
    """A broadcast operand: the same elements with axes of size 1 added or dropped."""
    if stored.size != array.size:
        return
    yield stored.reshape(array.shape)
    if array.ndim in {_LINE, _IMAGE}:
        lead = [1] * (array.ndim - stored.ndim)
        moved = stored.reshape(*lead, *stored.shape) if stored.ndim <= array.ndim else stored
        if array.ndim == _LINE and moved.ndim == _IMAGE:
            moved = moved.reshape(moved.shape[0], *moved.shape[2:])
        yield np.moveaxis(moved, -1, 1).reshape(array.shape)
