from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.targets.coreml.package.wire import (
    DamageError,
    entries,
    fields,
    message,
    packed_varints,
    signed,
    text,
)


def varint(number: int) -> bytes:
    made = bytearray()
    while True:
        made.append((number & 0x7F) | (0x80 if number > 0x7F else 0))
        number >>= 7
        if not number:
            return bytes(made)


@given(st.integers(0, 2**64 - 1), st.binary(max_size=40))
def test_numbers_and_bytes_come_back(number: int, content: bytes) -> None:
    data = b"\x08" + varint(number) + b"\x12" + varint(len(content)) + content
    first, second = fields(memoryview(data))
    assert first == (1, 0, number)
    assert second[:2] == (2, 2)
    assert bytes(message(second[2])) == content


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers(number: int) -> None:
    ((_, _, found),) = fields(memoryview(b"\x08" + varint(number % 2**64)))
    assert signed(found) == number


@given(st.lists(st.integers(0, 2**32)))
def test_packed_numbers(numbers: list[int]) -> None:
    data = b"".join(map(varint, numbers))
    assert packed_varints(2, memoryview(data)) == numbers


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08", "cut off"),
        (b"\x08" + b"\xff" * 11, "longer than 10"),
        (b"\x12\x05ab", "cut off after 2"),
        (b"\x0b", "wire type 3"),
        (b"\x00\x01", "number 0"),
    ],
)
def test_damage_is_told(data: bytes, reason: str) -> None:
    with pytest.raises(DamageError, match=reason):
        list(fields(memoryview(data)))


@pytest.mark.parametrize("read", [message, text])
def test_a_number_is_no_message(read: Callable[[int], object]) -> None:
    with pytest.raises(DamageError):
        read(3)


def test_entry_of_a_map() -> None:
    key, value = entries(memoryview(b"\x0a\x01k\x12\x02\x08\x05"))
    assert (key, bytes(value)) == ("k", b"\x08\x05")
    with pytest.raises(DamageError, match="UTF-8"):
        entries(memoryview(b"\x0a\x01\xff"))
