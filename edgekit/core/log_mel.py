"""Declares log-mel features: how a recording becomes the model's input."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from edgekit.core.model_base import FrozenModel


class LogMel(FrozenModel):
    """How a mono recording becomes the model's input, declared once.

    1. The recording, as floats of -1 to 1 (a 16-bit sample over 32768), is brought to
       ``clip_samples``: a longer one loses as many samples at both ends, a shorter one gets zeros
       at both ends (one more at the end where the number is odd).
    2. Frames of ``frame_samples``, ``step_samples`` apart, none of them reaching over the end,
       are weighted with the periodic Hann window ``0.5 - 0.5 * cos(2 * pi * n / frame_samples)``
       and filled with zeros to ``fft_size``; ``P[k] = abs(FFT)[k] ** 2``.
    3. ``E[m] = sum over k of W[m, k] * P[k]`` with ``mel_bins`` triangles of height 1. Their
       edges, `edges_hz`, are equally spaced on HTK's mel scale, ``mel = 2595 * log10(1 + f /
       700)`` (S. Young et al., The HTK Book, section 5.4); between them a triangle is linear in
       Hz, as in torchaudio and librosa (``htk=True, norm=None``). HTK itself and
       ``tf.signal.linear_to_mel_weight_matrix`` draw it linear in mel.
    4. The value fed is ``(ln(E[m] + log_offset) - mean) / std``, as ``[frames, mel_bins]``.
    """

    # NaN passes any comparison that refuses a value.
    model_config = ConfigDict(allow_inf_nan=False)

    # No field has a default, so that all stand in every file: an application reads them.
    kind: Literal["log-mel"] = Field(description="Form of the preprocessing.")
    sample_rate_hz: int = Field(ge=1, description="Samples a second of the recordings, in Hz.")
    clip_samples: int = Field(
        ge=1, description="Samples of the clip that a recording is cut or filled to."
    )
    frame_samples: int = Field(ge=2, description="Samples of a frame.")
    step_samples: int = Field(ge=1, description="Samples from one frame's begin to the next's.")
    fft_size: int = Field(ge=2, description="Samples of the FFT that a frame is filled to.")
    mel_bins: int = Field(ge=1, description="Features of a frame.")
    low_hz: float = Field(ge=0, description="Lower edge of the first mel filter, in Hz.")
    high_hz: float = Field(gt=0, description="Upper edge of the last mel filter, in Hz.")
    log_offset: float = Field(
        gt=0, description="Added to the energy of a mel bin before the logarithm."
    )
    mean: float = Field(description="Subtracted from the natural logarithm.")
    std: float = Field(gt=0, description="Divides what is left.")

    @model_validator(mode="after")
    def _check_frames(self) -> LogMel:
        if self.frame_samples > self.fft_size:
            raise ValueError(
                f"frame_samples is {self.frame_samples}, but fft_size only {self.fft_size}"
            )
        if self.frame_samples > self.clip_samples:
            raise ValueError(
                f"frame_samples is {self.frame_samples}, but clip_samples only {self.clip_samples}"
            )
        return self

    @model_validator(mode="after")
    def _check_band(self) -> LogMel:
        nyquist = self.sample_rate_hz / 2
        if not self.low_hz < self.high_hz <= nyquist:
            raise ValueError(
                f"low_hz {self.low_hz:g} and high_hz {self.high_hz:g} must rise and not pass "
                f"{nyquist:g}, half of sample_rate_hz"
            )
        edges = self.edges_hz
        empty = [
            number
            for number in range(self.mel_bins)
            if not self._holds_a_bin(edges[number], edges[number + 2])
        ]
        if empty:
            raise ValueError(
                f"{len(empty)} of {self.mel_bins} mel filters (the first is {empty[0]}, "
                f"{edges[empty[0]]:.1f} to {edges[empty[0] + 2]:.1f} Hz) lie between two bins of "
                f"the FFT, which are {self.sample_rate_hz / self.fft_size:.1f} Hz apart; take "
                "fewer mel_bins or a larger fft_size"
            )
        return self

    def _holds_a_bin(self, low_hz: float, high_hz: float) -> bool:
        spacing = self.sample_rate_hz / self.fft_size
        return (math.floor(low_hz / spacing) + 1) * spacing < high_hz

    @property
    def frames(self) -> int:
        """Frames of a clip."""
        return 1 + (self.clip_samples - self.frame_samples) // self.step_samples

    @property
    def edges_hz(self) -> tuple[float, ...]:
        """Edges of the mel filters, ``mel_bins + 2`` frequencies.

        Filter ``m`` rises from edge ``m``, is 1 at edge ``m + 1`` and 0 at edge ``m + 2``.
        """
        low, high = _mel(self.low_hz), _mel(self.high_hz)
        count = self.mel_bins + 1
        return tuple(_hz(low + (high - low) * number / count) for number in range(count + 1))


def _mel(hz: float) -> float:
    return 2595.0 * math.log10(1.0 + hz / 700.0)


def _hz(mel: float) -> float:
    return 700.0 * (math.pow(10.0, mel / 2595.0) - 1.0)
