"""`edgekit compare` by command line: real losses, and the remedies that undo them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.digits_network import write_net

type Call = Callable[..., Result]


def converted(call: Call, folder: Path, **faults: Any) -> tuple[Path, Path]:
    """A network and its int8 file, calibrated by the lowest and highest values."""
    source, out = folder / "float" / "net.onnx", folder / "out"
    write_net(source, **faults)
    done = call(
        "convert", source, "--target", "tflite", "--precision", "int8", "--calibrate", "digits",
        "--calibration-method", "minmax", "-o", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return source, out / "net.int8.tflite"


def compared(call: Call, *words: str | Path) -> dict[str, Any]:
    done = call("compare", *words, "--data", "digits", "--samples", "64", "--json")
    assert done.exit_code == 0, done.output
    (artifact,) = json.loads(done.stdout)["artifacts"]
    found: dict[str, Any] = artifact
    return found


def trials(artifact: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item["trial"] for item in artifact["remedies"] if item["trial"]}


def test_outliers_are_left_out_by_percentile(call: Call, tmp_path: Path) -> None:
    """Rare values of a channel that hardly counts take the range of all others."""
    source, artifact = converted(call, tmp_path, outliers=400.0)
    found = compared(call, source, artifact, "--try")
    assert [(item["layer"], item["cause"]) for item in found["culprits"]] == [
        ("relu1", "wide-range")
    ]
    tried = trials(found)
    assert set(tried) == {"requantize", "percentile", "equalize", "int16", "keep-float"}
    percentile = tried["percentile"]
    assert percentile["before"]["sqnr_db"] < 15
    assert percentile["after"]["sqnr_db"] > 30
    assert percentile["after"]["agreement"]["hits"] > percentile["before"]["agreement"]["hits"]
    assert (percentile["helps"], percentile["calibration"]) == (True, "percentile")
    # The default calibration finds the same, and costs least of all.
    assert (tried["requantize"]["best"], tried["requantize"]["calibration"]) == (
        True, "percentile",
    )  # fmt: skip
    assert [trial["best"] for trial in tried.values()].count(True) == 1
    # What is promised is what the option gives.
    again = tmp_path / "again"
    made = call(
        "convert", source, "--target", "tflite", "--precision", "int8", "--calibrate", "digits",
        "--calibration-method", "percentile", "-o", again,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    better = compared(call, source, again / "net.int8.tflite")
    (scores,) = [layer for layer in better["layers"] if layer["is_output"]]
    promised = percentile["after"]["sqnr_db"]
    assert scores["cumulative"]["sqnr_db"] == pytest.approx(promised, abs=2.0)


def test_values_that_all_count_need_sixteen_bits(call: Call, tmp_path: Path) -> None:
    source, artifact = converted(call, tmp_path, outliers=400.0, heeded=True)
    found = compared(call, source, artifact, "--try")
    tried = trials(found)
    assert tried["int16"]["best"]
    assert tried["int16"]["before"]["sqnr_db"] < 15
    assert tried["int16"]["after"]["sqnr_db"] > 30
    # Another calibration cannot do it.
    assert tried["requantize"]["after"]["sqnr_db"] < 25


def test_channels_of_different_sizes_are_equalized(call: Call, tmp_path: Path) -> None:
    source, artifact = converted(call, tmp_path, imbalance=64.0)
    done = call("compare", source, artifact, "--data", "digits", "--samples", "64", "--try")
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    assert "best remedy: equalize the ranges of channels between layers [--equalize]" in told
    assert "keep this layer in float [--keep-float relu2]: helps (outputs" in told
    assert "calibrated by" in told
    # Not every figure is one of the reference's tensor any more.
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("remedy: equalize")]
    assert "own error" not in line


def test_remedies_of_a_package(call: Call, tmp_path: Path) -> None:
    """They are lowered to Core ML and run there, with scales that float16 expresses."""
    source = tmp_path / "float" / "net.onnx"
    write_net(source, outliers=400.0)
    done = call(
        "convert", source, "--target", "coreml", "--precision", "int8", "--calibrate", "digits",
        "--calibration-method", "minmax", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = compared(call, source, tmp_path / "out" / "net.int8.mlpackage", "--try")
    tried = trials(found)
    assert not any(trial["problem"] for trial in tried.values())
    assert tried["percentile"]["helps"]
    assert tried["percentile"]["after"]["sqnr_db"] > tried["percentile"]["before"]["sqnr_db"] + 15


def test_remedies_need_a_float_reference(call: Call, tmp_path: Path) -> None:
    _, artifact = converted(call, tmp_path)
    done = call("compare", artifact.parent / "net.qdq.onnx", artifact, "--data", "digits", "--try")
    assert done.exit_code == 2
    assert "is no float graph. Give the float .onnx" in " ".join(done.stderr.split())
