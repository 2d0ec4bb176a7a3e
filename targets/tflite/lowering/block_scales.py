"""Scales of blockwise weights: where a .tflite file keeps them, and which it can hold.

The scales lie in a float16 tensor that no operator reads; the weights refer to it by its index.
XNNPACK (LiteRT 2.1.2) cuts each to the 8 leading digits of bfloat16, the builtin kernel uses all
11 of float16. So only numbers of 8 digits mean the same to both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.quantization import Quantization, TensorType

_NO_ZERO_POINTS = -1
SMALLEST_SCALE = 2.0**-14
"""The smallest normal float16 number; other processors may take smaller ones as 0."""


def fit_float16(quantization: Quantization) -> bool:
    """Whether every scale means the same to all kernels."""
    scales = np.array(quantization.scales, np.float32)
    if not (scales >= SMALLEST_SCALE).all() or not (scales <= np.finfo(np.float16).max).all():
        return False
    short = scales.astype(ml_dtypes.bfloat16).astype(np.float32)
    halves = scales.astype(np.float16).astype(np.float32)
    return bool(np.array_equal(scales, short) and np.array_equal(scales, halves))


def add_block_scales(model: Any, types: Sequence[TensorType]) -> None:
    """Gives each blockwise tensor of a ``ModelT`` its scales.

    Args:
        model: With one subgraph, whose tensors and buffers are lists that grow here.
        types: Of its tensors.
    """
    graph = model.subgraphs[0]
    for record, kind in zip(tuple(graph.tensors), types, strict=True):
        quantization = kind.quantization
        if quantization is None or not quantization.block_size:
            continue
        shape = quantization.scale_shape(record.shape)
        buffer = schema.BufferT()
        buffer.data = np.array(quantization.scales, np.float16).tobytes()
        model.buffers.append(buffer)
        scales = schema.TensorT()
        scales.name, scales.shape, scales.hasRank = f"{record.name}/scales", list(shape), True
        scales.type, scales.buffer = schema.TensorType.FLOAT16, len(model.buffers) - 1
        graph.tensors.append(scales)
        record.quantization = _details(quantization, len(graph.tensors) - 1)


def _details(quantization: Quantization, scales: int) -> Any:
    details = schema.BlockwiseQuantizationT()
    details.scales, details.zeroPoints = scales, _NO_ZERO_POINTS
    details.blockSize = quantization.block_size
    record = schema.QuantizationParametersT()
    record.detailsType = schema.QuantizationDetails.BlockwiseQuantization
    record.details = details
    return record
