"""Computes log-mel features as `edgekit.core.log_mel.LogMel` declares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.log_mel import LogMel
from edgekit.core.signature import TensorSpec
from edgekit.data.recording import FULL_SCALE, Recording
from edgekit.errors import InputError

type Floats = npt.NDArray[np.float64]


class LogMelFrontEnd:
    """Turns recordings into what one input of a model is fed.

    All is computed in float64 and rounded once; an application that computes in float32 differs
    by rounding, most where the energy is near ``log_offset``.

    Attributes:
        declared: The features.
        spec: The input that is fed.
    """

    def __init__(self, declared: LogMel, spec: TensorSpec) -> None:
        """Checks the input.

        Raises:
            InputError: If ``spec`` cannot take the features.
        """
        self.declared = declared
        self.spec = spec
        self._shape = _sample_shape(declared, spec)
        self._window = hann_window(declared.frame_samples)
        self._filters = mel_filters(declared)

    def __call__(self, recordings: Sequence[Recording]) -> npt.NDArray[Any]:
        """Features of at least one recording, in the shape and dtype of the input.

        Raises:
            InputError: If one has another sample rate than is declared.
        """
        features = [self._features(recording).reshape(self._shape) for recording in recordings]
        return np.stack(features).astype(self.spec.dtype)

    def _features(self, recording: Recording) -> Floats:
        """``float64[frames, mel_bins]``."""
        declared = self.declared
        if recording.sample_rate_hz != declared.sample_rate_hz:
            raise InputError(
                f"Recording {recording.name} has {recording.sample_rate_hz} samples a second, but "
                f"the model's preprocessing is for {declared.sample_rate_hz}; convert the "
                "recordings to that rate."
            )
        clip = fit_clip(recording.samples / FULL_SCALE, declared.clip_samples)
        frames = np.lib.stride_tricks.sliding_window_view(clip, declared.frame_samples)
        windowed = frames[:: declared.step_samples] * self._window
        power = np.abs(np.fft.rfft(windowed, declared.fft_size)) ** 2
        energy = power @ self._filters
        features: Floats = (np.log(energy + declared.log_offset) - declared.mean) / declared.std
        return features


def fit_clip(samples: Floats, length: int) -> Floats:
    """Cuts or fills a recording to ``length`` samples, its middle kept in the middle.

    Where an odd number is to be cut or filled, the end takes one more.
    """
    spare = len(samples) - length
    if spare >= 0:
        start = spare // 2
        return samples[start : start + length]
    before = -spare // 2
    return np.pad(samples, (before, -spare - before))


def hann_window(length: int) -> Floats:
    """The periodic Hann window, ``float64[length]``."""
    window: Floats = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return window


def mel_filters(declared: LogMel) -> Floats:
    """Weight of each bin of the FFT in each mel bin, ``float64[fft_size // 2 + 1, mel_bins]``."""
    edges = np.asarray(declared.edges_hz)
    bins = np.arange(declared.fft_size // 2 + 1) * declared.sample_rate_hz / declared.fft_size
    widths = np.diff(edges)
    distance = edges[None, :] - bins[:, None]
    rising = -distance[:, :-2] / widths[:-1]
    falling = distance[:, 2:] / widths[1:]
    filters: Floats = np.maximum(0.0, np.minimum(rising, falling))
    return filters


def _sample_shape(declared: LogMel, spec: TensorSpec) -> tuple[int, ...]:
    """Shape in which the input takes the features of one recording."""
    frames, bins = declared.frames, declared.mel_bins
    forms = ((1, frames, bins), (frames, bins, 1), (frames, bins), (frames * bins,))
    wanted = spec.shape[1:]
    for form in forms:
        if len(form) == len(wanted) and all(
            isinstance(want, str) or want == size for want, size in zip(wanted, form, strict=True)
        ):
            if spec.dtype not in ("float16", "float32", "float64"):
                break
            return form
    accepted = ", ".join(str(list(form)) for form in forms)
    raise InputError(
        f"Input {spec} cannot take the declared log-mel features, {frames} frames of {bins} bins: "
        f"expected floats in samples of {accepted}. Set preprocessing.clip_samples, step_samples "
        "and mel_bins to what the model expects."
    )
