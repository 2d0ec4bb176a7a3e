"""4-bit integers as a .tflite file stores them: two a byte, the first in the lower half."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

type Array = npt.NDArray[Any]

_LOW = 0x0F
_SIGN = 8


def pack_nibbles(integers: Array) -> npt.NDArray[np.uint8]:
    """Integers from -8 to 7 in C order, ``uint8[ceil(n / 2)]``; an odd end is filled with 0."""
    flat = np.zeros(integers.size + integers.size % 2, np.int8)
    flat[: integers.size] = integers.astype(np.int8).reshape(-1)
    halves = (flat & _LOW).astype(np.uint8)
    return np.asarray(halves[::2] | (halves[1::2] << 4))


def unpack_nibbles(content: bytes, count: int) -> npt.NDArray[np.int8]:
    """The first ``count`` integers of packed bytes.

    Raises:
        ValueError: If there are fewer.
    """
    packed = np.frombuffer(content, np.uint8)
    halves = np.stack([packed & _LOW, packed >> 4], axis=1).reshape(-1)[:count].astype(np.int8)
    if halves.size < count:
        raise ValueError(f"{len(content)} bytes hold fewer than {count} 4-bit integers")
    return ((halves ^ _SIGN) - _SIGN).astype(np.int8)
