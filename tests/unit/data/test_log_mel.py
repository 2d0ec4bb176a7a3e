"""Log-mel features against torchaudio, and clips of any length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.log_mel import LogMel
from edgekit.core.signature import TensorSpec
from edgekit.data.log_mel import LogMelFrontEnd, fit_clip, hann_window, mel_filters
from edgekit.data.recording import Recording
from edgekit.errors import InputError

DECLARED = LogMel(
    kind="log-mel",
    sample_rate_hz=8000,
    clip_samples=8000,
    frame_samples=320,
    step_samples=160,
    fft_size=512,
    mel_bins=40,
    low_hz=20,
    high_hz=4000,
    log_offset=1e-6,
    mean=-5,
    std=4,
)
SHORT = DECLARED.model_copy(update={"clip_samples": 400})


def spec(*shape: int | str, dtype: Any = "float32") -> TensorSpec:
    return TensorSpec(name="features", shape=("batch", *shape), dtype=dtype)


def recording(samples: npt.ArrayLike, rate: int = 8000) -> Recording:
    return Recording("a.wav", np.asarray(samples, np.int16), rate)


def noise(length: int, seed: int = 0, loudness: float = 3000) -> npt.NDArray[np.int16]:
    values = loudness * np.random.default_rng(seed).standard_normal(length)
    return np.clip(np.rint(values), -32768, 32767).astype(np.int16)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"frame_samples": 512, "step_samples": 100},
        {"mel_bins": 10, "low_hz": 0.0, "high_hz": 3700.0, "log_offset": 1e-3},
        {"sample_rate_hz": 16000, "fft_size": 1024, "frame_samples": 640, "high_hz": 8000.0},
    ],
)
def test_features_are_those_of_torchaudio(changed: dict[str, Any]) -> None:
    torchaudio = pytest.importorskip("torchaudio", reason="torchaudio is not installed")
    declared = LogMel(**{**DECLARED.model_dump(), **changed})
    reference = torchaudio.transforms.MelSpectrogram(
        declared.sample_rate_hz,
        n_fft=declared.fft_size,
        win_length=declared.frame_samples,
        hop_length=declared.step_samples,
        f_min=declared.low_hz,
        f_max=declared.high_hz,
        n_mels=declared.mel_bins,
        power=2.0,
        center=False,
        norm=None,
        mel_scale="htk",
    ).double()
    # A click in silence shows which samples belong to which frame.
    samples = np.concatenate([noise(4000), np.zeros(4000, np.int16)])
    samples[6000] = 20000
    clip = torch.from_numpy(samples / 32768.0)
    # torchaudio's frames are fft_size long with the window in their middle.
    margin = (declared.fft_size - declared.frame_samples) // 2
    energy = reference(torch.nn.functional.pad(clip, (margin, margin))).T.numpy()
    expected = (np.log(energy + declared.log_offset) - declared.mean) / declared.std
    front_end = LogMelFrontEnd(declared, spec(declared.frames, declared.mel_bins))
    (found,) = front_end([recording(samples, declared.sample_rate_hz)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected[: declared.frames], rtol=1e-5, atol=1e-5)


def test_filters_are_those_of_torchaudio() -> None:
    functional = pytest.importorskip("torchaudio", reason="torchaudio is missing").functional
    expected = functional.melscale_fbanks(257, 20.0, 4000.0, 40, 8000, norm=None, mel_scale="htk")
    np.testing.assert_allclose(mel_filters(DECLARED), expected.numpy(), atol=2e-4)


def test_window_is_that_of_torch() -> None:
    expected = torch.hann_window(320, periodic=True, dtype=torch.float64).numpy()
    np.testing.assert_allclose(hann_window(320), expected, atol=1e-12)


@pytest.mark.parametrize("hz", [300, 1000, 3300])
def test_a_tone_is_loudest_in_the_bin_around_it(hz: int) -> None:
    samples = 10000 * np.sin(2 * np.pi * hz * np.arange(8000) / 8000)
    (features,) = LogMelFrontEnd(DECLARED, spec(49, 40))([recording(samples)])
    loudest = int(features.mean(axis=0).argmax())
    edges = DECLARED.edges_hz
    assert edges[loudest] < hz < edges[loudest + 2]
    # A sine of amplitude a has |FFT|^2 = (a / 2 * sum of the window)^2 at its bin.
    at_most = 2 * np.log(10000 / 32768 / 2 * 160)
    assert at_most - 1.5 < features[:, loudest].mean() * 4 - 5 < at_most + 1


def test_silence_is_the_logarithm_of_the_offset() -> None:
    (features,) = LogMelFrontEnd(DECLARED, spec(49, 40))([recording([0])])
    np.testing.assert_allclose(features, (np.log(1e-6) + 5) / 4, rtol=1e-6)


@given(length=st.integers(1, 40), wanted=st.integers(1, 40))
def test_clips_are_cut_or_filled_around_the_middle(length: int, wanted: int) -> None:
    samples = np.arange(1.0, length + 1, dtype=np.float64)
    clip = fit_clip(samples.reshape(-1), wanted)
    assert clip.shape == (wanted,)
    kept = clip[clip > 0]
    assert len(kept) == min(length, wanted)
    np.testing.assert_array_equal(np.diff(kept), 1)
    zeros_before = int((clip > 0).argmax())
    zeros_after = wanted - zeros_before - len(kept)
    cut_before, cut_after = int(kept[0]) - 1, length - int(kept[-1])
    assert zeros_after - zeros_before in (0, 1)
    assert cut_after - cut_before in (0, 1)


@settings(max_examples=30, deadline=None)
@given(
    length=st.integers(1, 1500),
    clip=st.integers(64, 1200),
    frame=st.integers(16, 64),
    step=st.integers(1, 90),
    bins=st.integers(1, 8),
)
def test_any_recording_gives_the_declared_shape(
    length: int, clip: int, frame: int, step: int, bins: int
) -> None:
    declared = LogMel(
        kind="log-mel",
        sample_rate_hz=8000, clip_samples=clip, frame_samples=frame, step_samples=step,
        fft_size=64, mel_bins=bins, low_hz=0, high_hz=4000, log_offset=1e-6, mean=0, std=1,
    )  # fmt: skip
    front_end = LogMelFrontEnd(declared, spec(1, "frames", bins))
    found = front_end([recording(noise(length)), recording(noise(3, 1, 30000))])
    assert found.shape == (2, 1, declared.frames, bins)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("shape", [(1, 1, 40), (1, 40, 1), (1, 40), (40,), ("c", "t", "m")])
def test_axis_orders_hold_the_same_values(shape: tuple[int | str, ...]) -> None:
    declared = LogMel(**{**SHORT.model_dump(), "clip_samples": 320})
    found = LogMelFrontEnd(declared, spec(*shape))([recording(noise(320))])
    plain = LogMelFrontEnd(declared, spec(1, 40))([recording(noise(320))])
    assert found.ndim == len(shape) + 1
    np.testing.assert_array_equal(found.ravel(), plain.ravel())


@pytest.mark.parametrize(
    "wrong", [spec(1, 40, 49), spec(3, 49, 40), spec(8000), spec(49, 40, dtype="int8")]
)
def test_inputs_that_cannot_take_the_features(wrong: TensorSpec) -> None:
    with pytest.raises(
        InputError,
        match=r"cannot take the declared log-mel features, 49 frames of 40 bins: expected floats "
        r"in samples of \[1, 49, 40\], \[49, 40, 1\], \[49, 40\], \[1960\]",
    ):
        LogMelFrontEnd(DECLARED, wrong)


def test_half_precision_is_rounded_once() -> None:
    half = LogMelFrontEnd(DECLARED, spec(49, 40, dtype="float16"))([recording(noise(8000))])
    single = LogMelFrontEnd(DECLARED, spec(49, 40))([recording(noise(8000))])
    assert half.dtype == np.float16
    np.testing.assert_allclose(half, single, rtol=1e-3)


def test_another_sample_rate_is_refused() -> None:
    front_end = LogMelFrontEnd(DECLARED, spec(49, 40))
    with pytest.raises(
        InputError, match=r"Recording a\.wav has 16000 samples a second, but .* is for 8000;"
    ):
        front_end([recording([1], 16000)])
