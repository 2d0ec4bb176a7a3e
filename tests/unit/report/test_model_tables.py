"""Preprocessing in words."""

from __future__ import annotations

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import Preprocessing
from edgekit.report.model_tables import describe_preprocessing


def test_none_is_said() -> None:
    assert describe_preprocessing(None) == "none declared: the input is fed as it is"


def test_images() -> None:
    declared = Preprocessing(size=(32, 48), channels="gray", scale=0.5, mean=(1.0,), std=(2.0,))
    assert describe_preprocessing(declared) == (
        "resize to 32×48 (stretch, bilinear); gray; (pixel × 0.5 − [1]) / [2]"
    )


def test_recordings() -> None:
    declared = LogMel(
        kind="log-mel",
        sample_rate_hz=8000, clip_samples=8000, frame_samples=320, step_samples=160,
        fft_size=512, mel_bins=20, low_hz=20, high_hz=4000, log_offset=1e-6, mean=-7, std=4,
    )  # fmt: skip
    assert describe_preprocessing(declared) == (
        "clip of 8000 samples (1000 ms) at 8000 Hz, cut or filled at both ends; 49 frames of 320 "
        "samples (40 ms) every 160 samples (20 ms); FFT of 512; 20 mel bins (HTK scale) from 20 "
        "to 4000 Hz; (ln(energy + 1e-06) − [-7]) / [4]"
    )
