"""Decodes WAV files to 16-bit samples."""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError

type Samples16 = npt.NDArray[np.int16]

FULL_SCALE = 32768
"""What a 16-bit sample is divided by to lie in -1..1."""

_BYTES = 2


@dataclass(frozen=True, slots=True)
class Recording:
    """A decoded recording.

    Attributes:
        name: What messages call it.
        samples: One channel, ``int16[n]``, at least one.
        sample_rate_hz: Samples a second.
    """

    name: str
    samples: Samples16
    sample_rate_hz: int


def decode_wave(content: bytes, name: str) -> Recording:
    """Decodes a WAV file of one channel of 16-bit samples without compression.

    Args:
        content: Of the file.
        name: What the message calls it.

    Raises:
        InputError: If it is damaged, cut off, empty, no WAV file, or has other channels or
            samples.
    """
    try:
        with wave.open(io.BytesIO(content)) as opened:
            channels, width = opened.getnchannels(), opened.getsampwidth()
            rate, promised = opened.getframerate(), opened.getnframes()
            data = opened.readframes(promised)
    # A file that ends too early raises the second, a part longer than what holds it the third.
    except (wave.Error, EOFError, RuntimeError) as error:
        reason = str(error) or "its parts do not fit into it"
        raise InputError(
            f"Recording {name} cannot be decoded ({reason}); it is damaged, or no WAV file of "
            "samples without compression (PCM)."
        ) from error
    if (channels, width) != (1, _BYTES):
        raise InputError(
            f"Recording {name} has {channels} channel{'s' if channels > 1 else ''} of "
            f"{8 * width} bits; expected 1 channel of {8 * _BYTES} bits. Convert it first; how "
            "channels are mixed is yours to choose."
        )
    if len(data) != promised * _BYTES:
        raise InputError(
            f"Recording {name} is damaged: its header promises {promised} samples, but "
            f"{len(data) // _BYTES} are there. Fetch it again."
        )
    if not promised:
        raise InputError(f"Recording {name} is empty: it holds no samples.")
    return Recording(name, np.frombuffer(data, "<i2").astype(np.int16), rate)
