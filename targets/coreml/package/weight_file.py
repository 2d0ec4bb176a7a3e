"""Reads ``weight.bin``, the file of a package's large constants.

Source: ``mlmodel/src/MILBlob/Blob/StorageFormat.hpp`` of coremltools (BSD-3-Clause): a header of
64 bytes, then for each entry 64 bytes of metadata that point at its data.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError
from edgekit.targets.coreml.package.types import BITS, numpy_dtype, unpack_bits

_HEADER, _ENTRY = 64, 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_TYPES = {
    1: "float16", 2: "float32", 3: "uint8", 4: "int8", 5: "bfloat16", 6: "int16", 7: "uint16",
    8: "int4", 9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32",
    15: "uint32",
}  # fmt: skip


class WeightFile:
    """One weight file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        """Opens a file.

        Raises:
            InputError: If it is missing, cut off or of another format.
        """
        self.path = path
        try:
            size = path.stat().st_size
            if size < _HEADER:
                raise InputError(
                    f"{path} has {size} bytes and no header: it is cut off. Copy the package "
                    "again."
                )
            self._data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        except OSError as error:
            raise InputError(
                f"The weights {path} cannot be read: {error.strerror or error}. The package is "
                "incomplete; copy or convert it again."
            ) from error
        _, version = struct.unpack_from("<II", self._data[:8].tobytes())
        if version != _VERSION:
            raise InputError(
                f"{path} is of version {version} of the weight format; known is {_VERSION}."
            )

    def read(self, offset: int, dtype: str, count: int) -> npt.NDArray[np.generic]:
        """Elements of one entry.

        Args:
            offset: Where its metadata lies, in bytes.
            dtype: Element type that the program declares.
            count: Number of elements that the program declares.

        Returns:
            Flat, read-only; elements of fewer than 8 bits as a byte each.

        Raises:
            InputError: If there is no such entry at ``offset``.
        """
        size = len(self._data)
        where = f"{self.path}: the constant at offset {offset}"
        if offset < _HEADER or offset + _ENTRY > size:
            raise InputError(
                f"{where} lies outside of the file's {size} bytes: the package is damaged, or "
                "its weights belong to another model."
            )
        record = self._data[offset : offset + _ENTRY].tobytes()
        sentinel, kind, length, begin, padding = struct.unpack_from("<IIQQQ", record)
        if sentinel != _SENTINEL:
            raise InputError(
                f"{where} is none: no entry begins there. The package is damaged, or its weights "
                "belong to another model."
            )
        found = _TYPES.get(kind)
        if found is None or not _same(found, dtype):
            raise InputError(
                f"{where} holds {found or f'type {kind}'} where the program says {dtype}: the "
                "package is damaged."
            )
        if begin + length > size:
            raise InputError(
                f"{where} is cut off: its {length} bytes begin at {begin} of {size}. Copy the "
                "package again."
            )
        content = self._data[begin : begin + length]
        return self._elements(content, dtype, count, where, padding)

    def _elements(
        self, content: npt.NDArray[np.uint8], dtype: str, count: int, where: str, padding: int
    ) -> npt.NDArray[np.generic]:
        if dtype in BITS:
            held = (8 * len(content) - padding) // BITS[dtype]
            if held < count:
                raise InputError(f"{where} has {held} elements where the program says {count}.")
            return unpack_bits(np.asarray(content), dtype, count)
        item = numpy_dtype(dtype)
        if len(content) != count * item.itemsize:
            raise InputError(
                f"{where} has {len(content)} bytes, but {count} elements of {dtype} need "
                f"{count * item.itemsize}: the package is damaged."
            )
        return np.frombuffer(content, item)


def _same(found: str, declared: str) -> bool:
    """Booleans are stored as bytes."""
    return found == declared or (declared == "bool" and found in {"uint8", "int8"})
