"""Protocol buffers' wire format, as far as Core ML's messages need it.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


class DamageError(ValueError):
    """Bytes that are no message; readers of files turn it into an `InputError`."""


type Field = tuple[int, int, int | memoryview]


def fields(data: memoryview) -> Iterator[Field]:
    """Fields of a message in order: number, wire type, and a number or the bytes.

    Raises:
        DamageError: If the message is cut off or malformed.
    """
    place, end = 0, len(data)
    while place < end:
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if not number:
            raise DamageError("a field has number 0")
        if kind == VARINT:
            value, place = _varint(data, place)
            yield number, kind, value
            continue
        if kind == BYTES:
            size, place = _varint(data, place)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise DamageError(f"a field has wire type {kind}")
        if size > end - place:
            raise DamageError(f"a field of {size} bytes is cut off after {end - place}")
        yield number, kind, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for count in range(_MOST_VARINT_BYTES):
        if place >= len(data):
            raise DamageError("a number is cut off")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, place
    raise DamageError("a number is longer than 10 bytes")


def message(value: int | memoryview) -> memoryview:
    """The bytes of an embedded message or string.

    Raises:
        DamageError: If the field holds a number.
    """
    if isinstance(value, int):
        raise DamageError("a number stands where a message is expected")
    return value


def text(value: int | memoryview) -> str:
    """A string.

    Raises:
        DamageError: If it is no UTF-8.
    """
    try:
        return bytes(message(value)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DamageError("a text is not UTF-8") from error


def number(value: int | memoryview) -> int:
    """An unsigned number.

    Raises:
        DamageError: If the field holds bytes.
    """
    if not isinstance(value, int):
        raise DamageError("bytes stand where a number is expected")
    return value


def signed(value: int | memoryview) -> int:
    """A number of two's complement in 64 bits, as int32 and int64 fields hold it."""
    plain = number(value) & 0xFFFFFFFFFFFFFFFF
    return plain - (1 << 64) if plain >= 1 << 63 else plain


def packed_varints(kind: int, value: int | memoryview) -> list[int]:
    """Numbers of a repeated field, packed or one alone."""
    if kind == VARINT:
        return [number(value)]
    data, place, found = message(value), 0, []
    while place < len(data):
        item, place = _varint(data, place)
        found.append(item)
    return found


def entries(data: memoryview) -> tuple[str, memoryview]:
    """Key and value of an entry of a map whose keys are strings."""
    key, value = "", memoryview(b"")
    for index, _, content in fields(data):
        if index == 1:
            key = text(content)
        elif index == 2:
            value = message(content)
    return key, value


def float32(value: int | memoryview) -> float:
    """A number of four bytes.

    Raises:
        DamageError: If there are not four.
    """
    data = message(value)
    if len(data) != 4:
        raise DamageError(f"a float has {len(data)} bytes")
    return float(struct.unpack("<f", data)[0])


def float64(value: int | memoryview) -> float:
    """A number of eight bytes.

    Raises:
        DamageError: If there are not eight.
    """
    data = message(value)
    if len(data) != 8:
        raise DamageError(f"a double has {len(data)} bytes")
    return float(struct.unpack("<d", data)[0])
