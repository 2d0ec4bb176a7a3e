"""Compares weights in blocks with those of a QDQ graph.

A file holds them as ``[outputs, inputs]`` with a scale tensor ``[outputs, blocks]``, or cut into
rows of one block each, ``[outputs * blocks, block]``, with a scale a row. The elements lie in the
same order in both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.exactness import TensorMismatch
from edgekit.graph.node_view import int_attribute
from edgekit.targets.tflite.exactness.stored_model import StoredTensor
from edgekit.targets.tflite.lowering.quantization import Parameter, readers

type Array = npt.NDArray[Any]


def compare_blocks(
    value: ir.Value, parameter: Parameter, tensor: StoredTensor
) -> list[TensorMismatch]:
    """What differs between the weights of a graph and a tensor of the file.

    Args:
        value: The dequantized weights in the QDQ graph.
        parameter: Their integers and scales.
        tensor: Of the file.
    """
    found: list[TensorMismatch] = []

    def differs(what: str, detail: str) -> None:
        name = str(value.name)
        found.append(TensorMismatch(tensor=tensor.name, value=name, what=what, detail=detail))

    quantization = parameter.type.quantization
    assert quantization is not None
    scales = np.array(quantization.scales, np.float32)
    scales = scales.reshape(quantization.scale_shape(parameter.array.shape))
    rows_are_outputs = _rows_are_outputs(value)
    block = tensor.block_size or tensor.shape[-1]
    if tensor.dtype != parameter.type.dtype:
        differs("type", f"{parameter.type.dtype} became {tensor.dtype}")
    if tensor.data is None or tensor.data.size != parameter.array.size:
        differs("integers", "of another shape")
    elif count := _unequal(parameter.array, tensor.data, rows_are_outputs):
        differs("integers", f"{count} of {parameter.array.size} elements differ")
    if block != quantization.block_size or tensor.scales.size != scales.size:
        differs("scale", f"blocks of {quantization.block_size} became blocks of {block}")
    elif count := _unequal(scales, tensor.scales, rows_are_outputs):
        differs("scale", f"{count} of {scales.size} scales differ")
    if tensor.zero_points.any() or any(quantization.zero_points):
        differs("zero point", "weights in blocks have none but 0")
    return found


def _rows_are_outputs(value: ir.Value) -> bool:
    """Whether the graph stores the weights as the file does, outputs first."""
    return any(
        node.op_type == "Gemm" and int_attribute(node, "transB", 0) == 1
        for node, index in readers(value)
        if index == 1
    )


def _unequal(wanted: Array, stored: Array, rows_are_outputs: bool) -> int:
    """How many elements of a matrix differ from the stored ones."""
    shape = wanted.shape if rows_are_outputs else wanted.shape[::-1]
    found = stored.reshape(shape)
    return int((wanted != (found if rows_are_outputs else found.T)).sum())
