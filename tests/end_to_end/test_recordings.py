"""A network for recordings through the whole pipeline: trained, quantized, lowered, evaluated."""

from __future__ import annotations

import io
import json
import wave
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edgekit.cli.main import app

MODEL = """
from sample_models.keyword_dscnn.model import KeywordDsCnn

def small():
    return KeywordDsCnn(channels=16, blocks=1)
"""

PROJECT = """
name = "tones"
stages = ["train"]
[model]
source = "model.py:small"
inputs = ["features:1x1x19x8"]
dynamic_batch = true
[model.preprocessing]
kind = "log-mel"
sample_rate_hz = 8000
clip_samples = 1600
frame_samples = 160
step_samples = 80
fft_size = 256
mel_bins = 8
low_hz = 100
high_hz = 4000
log_offset = 1e-6
mean = -4
std = 5
[data]
set = "spoken-digits"
root = "data"
[train]
epochs = 6
batch_size = 16
lr = 1e-2
threads = 1
validation = 0
shift_px = 1
[targets.tflite]
precision = ["float32", "int8"]
[benchmark]
enabled = false
"""


def tone(digit: int, number: int) -> bytes:
    """A digit is a tone; recordings differ in length, loudness and noise."""
    rng = np.random.default_rng([digit, number])
    time = np.arange(rng.integers(1200, 2000)) / 8000
    tone = rng.uniform(3000, 9000) * np.sin(2 * np.pi * 200 * 1.3**digit * time)
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes((tone + 100 * rng.standard_normal(len(time))).astype("<i2").tobytes())
    return stream.getvalue()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data" / "fsdd").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "data" / "fsdd" / "recordings.zip", "w") as archive:
        for digit in range(10):
            for number, speaker in enumerate(("anna", "bert", "theo", "yweweler") * 3):
                archive.writestr(f"{digit}_{speaker}_{number}.wav", tone(digit, number))
    (tmp_path / "model.py").write_text(MODEL)
    path = tmp_path / "edgekit.toml"
    path.write_text(PROJECT)
    return path


def call(*line: str | Path) -> Result:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [str(word) for word in line])
    assert result.exit_code == 0, result.output
    return result


def test_tones_are_learnt_and_told_apart_in_every_artifact(project: Path) -> None:
    out, data = project.parent / "out", project.parent / "data"
    call("run", project, "-o", out)
    report = json.loads((out / "report" / "report.json").read_text())
    assert report["metadata"]["preprocessing"]["kind"] == "log-mel"
    assert "19 frames of 160 samples" in (out / "report" / "report.md").read_text()
    evaluated = [artifact["accuracy"] for artifact in report["targets"]]
    assert len(evaluated) == 2
    for accuracy in evaluated:
        assert accuracy["dataset"] == "spoken-digits/test"
        assert accuracy["top1"]["n"] == 60
        assert accuracy["top1"]["hits"] > 45
    # What the file holds is enough to evaluate it without the project.
    line = ("--data", "spoken-digits", "--data-root", data, "--json")
    for name in ("tones.float32.tflite", "tones.int8.tflite"):
        alone = json.loads(call("eval", out / name, *line).stdout)
        assert alone["accuracy"]["top1"]["hits"] in [item["top1"]["hits"] for item in evaluated]
    assert "mel bins (HTK scale)" in call("inspect", out / "tones.int8.tflite").stdout
