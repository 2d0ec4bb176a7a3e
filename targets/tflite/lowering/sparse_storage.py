"""How a .tflite file stores a tensor without its zeros: rows of the last axis, compressed.

``SparsityParameters`` of TensorFlow Lite's ``schema.fbs``: all axes but the last are dense, the
last has the places of its nonzero elements and where each row begins among them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

_VECTORS = (
    (np.uint8, schema.Uint8VectorT, schema.SparseIndexVector.Uint8Vector),
    (np.uint16, schema.Uint16VectorT, schema.SparseIndexVector.Uint16Vector),
    (np.int32, schema.Int32VectorT, schema.SparseIndexVector.Int32Vector),
)


def compressed_rows(array: npt.NDArray[Any]) -> tuple[Any, npt.NDArray[Any]]:
    """A tensor without its zeros.

    Args:
        array: Of at least one axis.

    Returns:
        Its ``SparsityParametersT``, and the elements that are not 0 in order.
    """
    rows = array.reshape(-1, array.shape[-1])
    present = rows != 0
    starts = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder = list(range(array.ndim))
    sparsity.dimMetadata = [_dense(size) for size in array.shape[:-1]]
    sparsity.dimMetadata.append(_compressed(starts, np.nonzero(present)[1]))
    return sparsity, rows[present]


def whole_tensor(
    sparsity: Any, stored: npt.NDArray[Any], shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    """The tensor that `compressed_rows` was given.

    Args:
        sparsity: A ``SparsityParametersT`` of a checked file.
        stored: The elements that are not 0.
        shape: Of the whole tensor.

    Returns:
        The tensor; where the file stores it in another sparse form, what is stored, flat.
    """
    last = sparsity.dimMetadata[-1]
    if last.format != schema.DimensionType.SPARSE_CSR or len(sparsity.dimMetadata) != len(shape):
        return stored
    starts, places = last.arraySegments.values, last.arrayIndices.values
    rows = np.zeros((int(np.prod(shape[:-1])), shape[-1]), stored.dtype)
    if len(starts) != len(rows) + 1 or len(places) != len(stored):
        return stored
    rows[np.repeat(np.arange(len(rows)), np.diff(starts.astype(np.int64))), places] = stored
    return rows.reshape(shape)


def _dense(size: int) -> Any:
    dimension = schema.DimensionMetadataT()
    dimension.format, dimension.denseSize = schema.DimensionType.DENSE, size
    return dimension


def _compressed(starts: npt.NDArray[Any], places: npt.NDArray[Any]) -> Any:
    dimension = schema.DimensionMetadataT()
    dimension.format = schema.DimensionType.SPARSE_CSR
    dimension.arraySegmentsType, dimension.arraySegments = _smallest(starts)
    dimension.arrayIndicesType, dimension.arrayIndices = _smallest(places)
    return dimension


def _smallest(values: npt.NDArray[Any]) -> tuple[int, Any]:
    """A vector of the smallest integers that hold the values."""
    highest = int(values.max(initial=0))
    dtype, vector, kind = next(item for item in _VECTORS if highest <= np.iinfo(item[0]).max)
    record = vector()
    record.values = values.astype(dtype)
    return kind, record
