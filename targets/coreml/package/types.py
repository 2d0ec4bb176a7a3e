"""Types of values in a MIL program."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

DTYPES = {
    1: "bool", 2: "string", 10: "float16", 11: "float32", 12: "float64", 13: "bfloat16",
    21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4",
    31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2",
    37: "uint1", 38: "uint6", 39: "uint3",
}  # fmt: skip
"""Names of MIL's element types by their number in ``MIL.proto``."""

BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}
"""Bits of the element types that do not fill a byte."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor; a size of None is open, and so is a shape of None."""

    dtype: str
    shape: tuple[int | None, ...] | None

    def __str__(self) -> str:
        """Short form for messages."""
        sizes = (
            "?"
            if self.shape is None
            else ", ".join("?" if s is None else str(s) for s in self.shape)
        )
        return f"{self.dtype}[{sizes}]"


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of values of one type."""

    element: ValueType
    length: int | None


@dataclass(frozen=True, slots=True)
class TupleType:
    """Values of different types."""

    elements: tuple[ValueType, ...]


@dataclass(frozen=True, slots=True)
class DictionaryType:
    """Values by keys."""

    key: ValueType
    value: ValueType


@dataclass(frozen=True, slots=True)
class StateType:
    """A value that outlives one prediction."""

    wrapped: ValueType


type ValueType = TensorType | ListType | TupleType | DictionaryType | StateType


def numpy_dtype(name: str) -> np.dtype[Any]:
    """Type of the array that holds elements; those of fewer than 8 bits fill a byte each.

    Raises:
        KeyError: For text.
    """
    if name == "bfloat16":
        short: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return short
    if name in BITS:
        return np.dtype(np.int8 if name == "int4" else np.uint8)
    plain: dict[str, type[np.generic]] = {
        "bool": np.bool_, "float16": np.float16, "float32": np.float32, "float64": np.float64,
        "int8": np.int8, "int16": np.int16, "int32": np.int32, "int64": np.int64,
        "uint8": np.uint8, "uint16": np.uint16, "uint32": np.uint32, "uint64": np.uint64,
    }  # fmt: skip
    found: np.dtype[Any] = np.dtype(plain[name])
    return found


def unpack_bits(packed: npt.NDArray[np.uint8], name: str, count: int) -> npt.NDArray[np.generic]:
    """Elements of fewer than 8 bits, the lowest bits of each byte first.

    Args:
        packed: Bytes, uint8 of any length that holds ``count`` elements.
        name: Element type, one of `BITS`.
        count: Number of elements.
    """
    width = BITS[name]
    bits = np.unpackbits(packed, bitorder="little")[: count * width].reshape(count, width)
    values = np.asarray((bits * (1 << np.arange(width))).sum(axis=1), np.int16)
    if name == "int4":
        return np.asarray(np.where(values > 7, values - 16, values), np.int8)
    return values.astype(np.uint8)
