"""WAV files: samples as written, and what is said of files that are not."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.data.recording import decode_wave
from edgekit.errors import InputError


def wav(data: bytes, *, channels: int = 1, width: int = 2, rate: int = 8000) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return stream.getvalue()


GOOD = wav(struct.pack("<4h", 0, 32767, -32768, 5))


def test_samples_are_as_written() -> None:
    found = decode_wave(GOOD, "a.wav")
    assert found.samples.tolist() == [0, 32767, -32768, 5]
    assert found.samples.dtype == np.int16
    assert (found.name, found.sample_rate_hz) == ("a.wav", 8000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.wav cannot be decoded \(its parts do not fit into it\)"),
        (b"no sound at all", r"cannot be decoded .*it is damaged, or no WAV file"),
        (GOOD[:20], r"cannot be decoded"),
        (GOOD[:17] + b"\1" + GOOD[18:], r"cannot be decoded"),
        (GOOD[:-3], r"a\.wav is damaged: its header promises 4 samples, but 2 are there"),
        (wav(b""), r"a\.wav is empty: it holds no samples"),
        (wav(b"abcd", channels=2), r"has 2 channels of 16 bits; expected 1 channel of 16 bits"),
        (wav(b"abcd", width=1), r"has 1 channel of 8 bits; expected 1 channel of 16"),
        (wav(b"abcdef", width=3), r"has 1 channel of 24 bits"),
        (GOOD.replace(b"fmt \x10\0\0\0\1\0", b"fmt \x10\0\0\0\3\0"), r"unknown format: 3"),
    ],
)
def test_bad_files(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_wave(content, "a.wav")


@settings(max_examples=200)
@given(place=st.integers(0, len(GOOD) - 1), value=st.integers(0, 255), end=st.integers(0, 60))
def test_any_damage_is_an_input_error_or_goes_unnoticed(place: int, value: int, end: int) -> None:
    content = bytearray(GOOD)
    content[place] = value
    try:
        found = decode_wave(bytes(content[:end]), "a.wav")
    except InputError:
        return
    assert found.samples.ndim == 1
