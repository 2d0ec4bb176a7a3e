"""What log-mel features can be declared, and how the two kinds of preprocessing are told apart."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.toml_config import load_toml
from edgekit.errors import ConfigError

FIELDS: dict[str, Any] = {
    "kind": "log-mel",
    "sample_rate_hz": 8000,
    "clip_samples": 8000,
    "frame_samples": 320,
    "step_samples": 160,
    "fft_size": 512,
    "mel_bins": 40,
    "low_hz": 20.0,
    "high_hz": 4000.0,
    "log_offset": 1e-6,
    "mean": -5.0,
    "std": 4.0,
}


def test_metadata_without_a_kind_is_of_images_as_it_always_was() -> None:
    found = ModelMetadata.model_validate({"preprocessing": {"channels": "gray", "mean": [0.5]}})
    assert found.preprocessing == Preprocessing(channels="gray", mean=(0.5,))


@pytest.mark.parametrize("declared", [None, Preprocessing(scale=1.0), LogMel(**FIELDS)])
def test_metadata_survives_json(declared: Preprocessing | LogMel | None) -> None:
    metadata = ModelMetadata(preprocessing=declared)
    assert ModelMetadata.model_validate_json(metadata.model_dump_json()) == metadata


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('kind = "mfcc"', "preprocessing: kind should be 'image' or 'log-mel', but is"),
        ("kind = 3", "preprocessing: kind should be 'image' or 'log-mel', but is"),
        ("sclae = 1.0", r"preprocessing\.sclae: unknown key\. Did you mean 'scale'\?"),
        ('kind = "log-mel"', r"preprocessing\.clip_samples: is required and not given"),
        ('kind = "log-mel"\nmel_bin = 3', r"\.mel_bin: unknown key\. Did you mean 'mel_bins'\?"),
        ('kind = "log-mel"\nmel_bins = 0', r"preprocessing\.mel_bins: input should be greater"),
    ],
)
def test_what_a_file_says_wrongly(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(f"[preprocessing]\n{lines}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        load_toml(path, ModelMetadata)
    # Keys of the other kind would mislead.
    assert ("crop_fraction" in str(caught.value)) == lines.startswith("sclae")


def test_a_number_in_place_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("preprocessing = 3\n")
    with pytest.raises(ConfigError, match=r"- preprocessing: should be a table, but is 3\."):
        load_toml(path, ModelMetadata)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frame_samples": 513}, "frame_samples is 513, but fft_size only 512"),
        ({"clip_samples": 319}, "frame_samples is 320, but clip_samples only 319"),
        ({"high_hz": 4000.5}, r"low_hz 20 and high_hz 4000\.5 must rise and not pass 4000"),
        ({"low_hz": 4000.0}, "low_hz 4000 and high_hz 4000 must rise"),
        ({"mel_bins": 200}, r"of 200 mel filters .* lie between two bins .* 15\.6 Hz apart"),
        ({"std": 0.0}, "greater than 0"),
        ({"mean": math.nan}, "finite number"),
        ({"log_offset": 0.0}, "greater than 0"),
        ({"step_samples": 0}, "greater than or equal to 1"),
    ],
)
def test_features_that_cannot_be_computed(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LogMel(**{**FIELDS, **changed})


@given(clip=st.integers(32, 2000), frame=st.integers(2, 32), step=st.integers(1, 50))
def test_frames_are_those_that_fit(clip: int, frame: int, step: int) -> None:
    declared = LogMel(
        **{**FIELDS, "clip_samples": clip, "frame_samples": frame, "step_samples": step}
    )
    assert declared.frames == len(range(0, clip - frame + 1, step))


def test_edges_are_equally_spaced_on_htks_scale() -> None:
    edges = LogMel(**FIELDS).edges_hz
    assert len(edges) == 42
    assert (edges[0], edges[-1]) == pytest.approx((20.0, 4000.0))
    mels = [1127.0 * math.log(1 + edge / 700) for edge in edges]
    steps = [after - before for before, after in itertools.pairwise(mels)]
    # 2595 / ln(10) is 1126.994, so that the two spellings differ a little.
    assert steps == pytest.approx([steps[0]] * 41, rel=1e-9)
    assert sum(steps) == pytest.approx(2146.065 - 31.748, rel=1e-4)
