"""The preprocessing from a TOML file, of images or of recordings."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.cli.preprocessing_flags import PreprocessingFlags, preprocessing_from
from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import Preprocessing
from edgekit.errors import ConfigError, UsageError

NONE = PreprocessingFlags()

FEATURES = """
kind = "log-mel"
sample_rate_hz = 8000
clip_samples = 8000
frame_samples = 320
step_samples = 160
fft_size = 512
mel_bins = 20
low_hz = 20
high_hz = 4000
log_offset = 1e-6
mean = -7
std = 4
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "p.toml"
    path.write_text(text)
    return path


def test_a_file_without_kind_is_of_images(tmp_path: Path) -> None:
    found = preprocessing_from(written(tmp_path, 'channels = "gray"\n'), NONE)
    assert found == Preprocessing(channels="gray")


def test_a_file_of_log_mel_features(tmp_path: Path) -> None:
    found = preprocessing_from(written(tmp_path, FEATURES), NONE)
    assert isinstance(found, LogMel)
    assert found.frames == 49


def test_what_a_file_says_wrongly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"p\.toml: kind should be 'image' or 'log-mel', but is"):
        preprocessing_from(written(tmp_path, 'kind = "mfcc"\n'), NONE)
    with pytest.raises(ConfigError, match=r"- scale: unknown key\. .*Valid keys: kind, sample_"):
        preprocessing_from(written(tmp_path, FEATURES + "scale = 1\n"), NONE)


def test_flags_are_of_images_and_stand_alone(tmp_path: Path) -> None:
    assert preprocessing_from(None, NONE) is None
    assert preprocessing_from(None, PreprocessingFlags(scale="1/2")) == Preprocessing(scale=0.5)
    with pytest.raises(UsageError, match="by --scale, not both"):
        preprocessing_from(written(tmp_path, FEATURES), PreprocessingFlags(scale="1/2"))
