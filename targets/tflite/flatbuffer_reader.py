"""Reads flatbuffers of untrusted origin: every access is checked against the file's end.

The runtimes' own readers do no such check (LiteRT 2.1.2 dies with a segmentation fault on
a truncated file), and the generated Python classes read past the end or wrap to negative
positions. A damaged file gives one `InputError` here.

The format (flatbuffers.dev, "Flatbuffer binary format"), all little-endian: a table starts
with an int32, the distance back to its vtable; the vtable is uint16 vtable size, uint16
table size, then one uint16 offset a field (0: absent). Strings, vectors and sub-tables
are stored as a uint32 distance forward from the field; vectors start with a uint32 count.
"""

from __future__ import annotations

import struct
from typing import Literal

from edgekit.errors import InputError

type ScalarFormat = Literal["?", "b", "B", "h", "H", "i", "I", "q", "Q", "f", "d"]

_HEADER_BYTES = 8


class FlatBuffer:
    """The bytes of one flatbuffer, with the checks that keep every read inside them.

    Attributes:
        data: The bytes; what follows the flatbuffer (an appended ZIP) is ignored.
        name: What is being read, for messages: ``"model.tflite"``.
    """

    __slots__ = ("_budget", "data", "name")

    def __init__(self, data: bytes | memoryview, name: str) -> None:
        self.data = memoryview(data)
        self.name = name
        # Damaged offsets can make tables share each other over and over. An intact file
        # spends at least 4 bytes on each table, and each is visited a few times at most.
        self._budget = 1000 + 4 * len(self.data)

    def root(self, identifier: bytes, format_name: str) -> FlatTable:
        """The root table.

        Args:
            identifier: The four bytes at position 4, for example ``b"TFL3"``.
            format_name: For messages, for example ``"TensorFlow Lite model"``.

        Raises:
            InputError: If the identifier is another or the root lies outside the file.
        """
        if len(self.data) == 0:
            raise InputError(f"{self.name} is empty (0 bytes); a {format_name} is expected.")
        if len(self.data) < _HEADER_BYTES or bytes(self.data[4:8]) != identifier:
            found = bytes(self.data[4:8])
            raise InputError(
                f"{self.name} is not a {format_name}: bytes 4 to 8 are {found!r}, "
                f"expected {identifier!r}. Check that the path names the right file."
            )
        return FlatTable(self, self.uint32(0))

    def uint32(self, position: int) -> int:
        """The uint32 at ``position``."""
        self.check(position, 4)
        return int(struct.unpack_from("<I", self.data, position)[0])

    def check(self, position: int, size: int) -> None:
        """Raises InputError unless ``size`` bytes at ``position`` lie inside the data."""
        if position < 0 or size < 0 or position + size > len(self.data):
            raise InputError(
                f"{self.name} is damaged: it refers to bytes {position} to {position + size}, "
                f"but has {len(self.data)}. It is truncated or was altered; get it again."
            )

    def spend(self) -> None:
        """Counts one table visit; raises InputError when there are more than can be real."""
        self._budget -= 1
        if self._budget < 0:
            raise InputError(
                f"{self.name} is damaged: its tables refer to each other too often "
                "for its size. It was altered; get it again."
            )


class FlatTable:
    """One table; fields are named by slot, the position of the field in the schema."""

    __slots__ = ("_offsets", "buffer", "position")

    def __init__(self, buffer: FlatBuffer, position: int) -> None:
        buffer.spend()
        buffer.check(position, 4)
        vtable = position - int(struct.unpack_from("<i", buffer.data, position)[0])
        buffer.check(vtable, 4)
        vtable_size, table_size = struct.unpack_from("<HH", buffer.data, vtable)
        buffer.check(vtable, vtable_size)
        buffer.check(position, table_size)
        if vtable_size < 4 or vtable_size % 2:
            raise InputError(
                f"{buffer.name} is damaged: the vtable at byte {vtable} claims a size of "
                f"{vtable_size}. It was altered; get it again."
            )
        self.buffer = buffer
        self.position = position
        count = (vtable_size - 4) // 2
        self._offsets = struct.unpack_from(f"<{count}H", buffer.data, vtable + 4)

    def scalar(self, slot: int, form: ScalarFormat, default: int = 0) -> int:
        """An integer or bool field; ``default`` where it is absent."""
        place = self._place(slot)
        if place is None:
            return default
        self.buffer.check(place, struct.calcsize(form))
        return int(struct.unpack_from(f"<{form}", self.buffer.data, place)[0])

    def string(self, slot: int) -> str:
        """A string field; empty where it is absent. Bytes that are no UTF-8 are replaced."""
        return bytes(self.content(slot)).decode("utf-8", errors="replace")

    def content(self, slot: int) -> memoryview:
        """The bytes of a string or of a vector of bytes, not copied; empty where absent."""
        start, count = self._vector(slot, 1)
        return self.buffer.data[start : start + count]

    def integers(self, slot: int, form: ScalarFormat = "i") -> tuple[int, ...]:
        """A vector of integers; empty where it is absent."""
        start, count = self._vector(slot, struct.calcsize(form))
        return struct.unpack_from(f"<{count}{form}", self.buffer.data, start)

    def floats(self, slot: int) -> tuple[float, ...]:
        """A vector of float32; empty where it is absent."""
        start, count = self._vector(slot, 4)
        return struct.unpack_from(f"<{count}f", self.buffer.data, start)

    def present(self, slot: int) -> bool:
        """Whether the field is stored."""
        return self._place(slot) is not None

    def table(self, slot: int) -> FlatTable | None:
        """A sub-table, or the value of a union; None where it is absent."""
        place = self._place(slot)
        if place is None:
            return None
        return FlatTable(self.buffer, place + self.buffer.uint32(place))

    def tables(self, slot: int) -> tuple[FlatTable, ...]:
        """A vector of tables; empty where it is absent."""
        start, count = self._vector(slot, 4)
        places = range(start, start + 4 * count, 4)
        return tuple(FlatTable(self.buffer, place + self.buffer.uint32(place)) for place in places)

    def _place(self, slot: int) -> int | None:
        if slot >= len(self._offsets) or self._offsets[slot] == 0:
            return None
        return self.position + int(self._offsets[slot])

    def _vector(self, slot: int, item_bytes: int) -> tuple[int, int]:
        """Start and count of a vector; (0, 0) where it is absent."""
        place = self._place(slot)
        if place is None:
            return 0, 0
        start = place + self.buffer.uint32(place)
        count = self.buffer.uint32(start)
        self.buffer.check(start + 4, count * item_bytes)
        return start + 4, count
