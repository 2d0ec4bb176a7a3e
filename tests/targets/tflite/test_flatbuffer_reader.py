"""The reader takes what LiteRT's schema classes write, and refuses what leads outside."""

from __future__ import annotations

import struct

import flatbuffers
import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.targets.tflite.flatbuffer_reader import FlatBuffer, FlatTable


def _root(data: bytes) -> FlatTable:
    return FlatBuffer(data, "x.bin").root(b"TEST", "test buffer")


def _buffer() -> bytes:
    """Root with 0: int8 -3, 1: string, 2: int32 vector, 3: two tables, 5: float vector."""
    builder = flatbuffers.Builder(64)
    text = builder.CreateString("grüße")
    numbers = builder.CreateNumpyVector(np.array([7, -8], "int32"))
    floats = builder.CreateNumpyVector(np.array([0.5, -2.0], "float32"))
    builder.StartObject(1)
    builder.PrependInt32Slot(0, 11, 0)
    first = builder.EndObject()
    builder.StartObject(1)
    builder.PrependInt32Slot(0, 12, 0)
    second = builder.EndObject()
    builder.StartVector(4, 2, 4)
    builder.PrependUOffsetTRelative(second)
    builder.PrependUOffsetTRelative(first)
    tables = builder.EndVector()
    builder.StartObject(6)
    builder.PrependInt8Slot(0, -3, 0)
    builder.PrependUOffsetTRelativeSlot(1, text, 0)
    builder.PrependUOffsetTRelativeSlot(2, numbers, 0)
    builder.PrependUOffsetTRelativeSlot(3, tables, 0)
    builder.PrependUOffsetTRelativeSlot(5, floats, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"TEST")
    return bytes(builder.Output())


def test_every_kind_of_field_is_read() -> None:
    root = _root(_buffer())
    assert root.scalar(0, "b") == -3
    assert root.string(1) == "grüße"
    assert root.integers(2) == (7, -8)
    assert [table.scalar(0, "i") for table in root.tables(3)] == [11, 12]
    assert root.floats(5) == (0.5, -2.0)


def test_absent_fields_have_their_defaults() -> None:
    root = _root(_buffer())
    assert root.scalar(4, "i", 42) == 42
    assert root.scalar(99, "i") == 0
    assert not root.present(4)
    assert root.string(4) == ""
    assert root.integers(4) == ()
    assert root.tables(4) == ()
    assert root.table(4) is None


def test_empty_and_foreign_files_are_named_as_such() -> None:
    with pytest.raises(InputError, match=r"x\.bin is empty \(0 bytes\); a test buffer"):
        _root(b"")
    with pytest.raises(InputError, match=r"not a test buffer: bytes 4 to 8 are b'o wo'"):
        _root(b"hello world")
    with pytest.raises(InputError, match="is not a test buffer"):
        _root(b"\x08\0\0\0")


def test_root_outside_the_file_is_refused() -> None:
    data = struct.pack("<I", 5000) + b"TEST" + bytes(8)
    with pytest.raises(InputError, match="refers to bytes 5000 to 5004, but has 16"):
        _root(data)


def test_vtable_before_the_file_is_refused() -> None:
    # The generated Python classes would wrap to the end of the file here.
    data = struct.pack("<I4si", 8, b"TEST", 1000)
    with pytest.raises(InputError, match=r"refers to bytes -992 to -988"):
        _root(data)


def test_vtable_smaller_than_its_own_header_is_refused() -> None:
    data = struct.pack("<I4sHHi", 12, b"TEST", 2, 4, 4)
    with pytest.raises(InputError, match="vtable at byte 8 claims a size of 2"):
        _root(data)


def test_vector_longer_than_the_file_is_refused() -> None:
    data = bytearray(_buffer())
    place = data.index(struct.pack("<Iii", 2, 7, -8))
    data[place : place + 4] = struct.pack("<I", 1 << 30)
    root = _root(bytes(data))
    with pytest.raises(InputError, match=r"x\.bin is damaged: it refers to bytes"):
        root.integers(2)


def test_tables_that_share_each_other_endlessly_are_refused() -> None:
    root = _root(_buffer())

    def visit(depth: int) -> None:
        for _ in range(4):
            root.tables(3)
            visit(depth + 1) if depth < 6 else None

    with pytest.raises(InputError, match="refer to each other too often"):
        visit(0)
