"""Whether a tensor that a .tflite file stores without its zeros is whole.

Checked are rows of the last axis in compressed form, as edgekit writes them; other sparse forms,
as of blocks, are for the runtime to judge. Slots are those of ``SparsityParameters`` and
``DimensionMetadata`` in TensorFlow Lite's ``schema.fbs``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod

from edgekit.targets.tflite.flatbuffer_reader import FlatTable, ScalarFormat

_DENSE, _COMPRESSED = 0, 1
_VECTORS: Mapping[int, ScalarFormat] = {1: "i", 2: "H", 3: "B"}
"""Element type of an index vector by its place in the union."""
_ITEM_BYTES = {"float32": 4, "float16": 2, "int8": 1}


def sparsity_fault(
    sparsity: FlatTable | None, shape: Sequence[int], dtype: str, stored_bytes: int
) -> str:
    """What is wrong with the sparse form of a tensor; empty where nothing is.

    Args:
        sparsity: The tensor's ``SparsityParameters``; None for a dense tensor.
        shape: Of the whole tensor.
        dtype: Name of its element type.
        stored_bytes: Size of its content in the file.
    """
    if sparsity is None or sparsity.integers(1):
        return ""
    *outer, last = sparsity.tables(2) or (None,)
    if last is None or len(outer) + 1 != len(shape):
        return f"its sparsity has {len(outer) + (last is not None)} axes"
    if sparsity.integers(0) != tuple(range(len(shape))):
        return ""
    if any(axis.scalar(0, "b") != _DENSE for axis in outer):
        return ""
    if last.scalar(0, "b") != _COMPRESSED:
        return ""
    sizes = tuple(axis.scalar(1, "i") for axis in outer)
    if sizes != tuple(shape[:-1]):
        return f"its sparsity is for the rows {list(sizes)}"
    starts, places = _vector(last, 2), _vector(last, 4)
    ascending = all(first <= second for first, second in pairwise(starts))
    if len(starts) != prod(sizes) + 1 or starts[0] != 0 or not ascending:
        return f"its sparsity has {len(starts)} starts of rows, or not in order"
    if starts[-1] != len(places) or any(not 0 <= place < shape[-1] for place in places):
        return f"its sparsity has {len(places)} places, or places outside a row"
    needed = len(places) * _ITEM_BYTES.get(dtype, 1)
    if stored_bytes < needed:
        return f"{stored_bytes} of {needed} bytes of its elements are there"
    return ""


def _vector(table: FlatTable, slot: int) -> tuple[int, ...]:
    """An index vector: the type of the union in ``slot``, the vector behind it."""
    form = _VECTORS.get(table.scalar(slot, "B"))
    vector = table.table(slot + 1)
    return () if form is None or vector is None else vector.integers(0, form)
