"""int8 by command line: from calibration data to a verified artifact, and what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from typer.testing import Result

type Call = Callable[..., Result]
type Array = npt.NDArray[Any]


def images(count: int = 9) -> Array:
    return np.random.default_rng(1).uniform(-1, 1, (count, 1, 8, 8)).astype(np.float32)


@pytest.fixture
def convert(call: Call, models: Path, tmp_path: Path) -> Call:
    """Converts ``good.onnx`` to int8, calibrated with the arrays given."""

    def invoke(arrays: dict[str, Array], *options: str | Path) -> Result:
        np.savez(tmp_path / "own.npz", allow_pickle=False, **arrays)
        return call(
            "convert", models / "good.onnx", "--precision", "int8", "--no-bench",
            "--calibrate", tmp_path / "own.npz", "-o", tmp_path / "out", *options,
        )  # fmt: skip

    return invoke


def verified(call: Call, folder: Path, *options: str | Path) -> dict[str, Any]:
    artifact, graph = folder / "out" / "good.int8.tflite", folder / "out" / "good.qdq.onnx"
    result = call("verify", artifact, "--against", graph, "--json", *options)
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_an_exact_artifact(call: Call, convert: Call, tmp_path: Path) -> None:
    done = convert({"image": images()})
    assert done.exit_code == 0, done.output
    report = verified(call, tmp_path, "--data", f"npz:{tmp_path / 'own.npz'}", "--samples", "5")
    assert report["differing_tensors"] == 0
    assert report["compared_tensors"] >= 5
    assert (report["float_ops"], report["custom_ops"]) == ([], [])
    assert report["max_lsb"] <= 1
    assert (report["agreement"], report["samples"]) == (1.0, 5)


def test_integers_alone(call: Call, convert: Call, tmp_path: Path) -> None:
    done = convert({"image": images()}, "--integer-only", "--io", "int8")
    assert done.exit_code == 0, done.output
    assert verified(call, tmp_path)["float_ops"] == []


def test_integers_alone_where_a_layer_is_kept_in_float(convert: Call, tmp_path: Path) -> None:
    done = convert({"image": images()}, "--integer-only", "--keep-float", "pool")
    assert done.exit_code == 3, done.output
    assert "was to compute on integers alone" in done.stderr
    assert "1 operator computes in float: kept in float by the pattern 'pool'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_layer_in_float_is_told_with_its_reason(
    call: Call, convert: Call, tmp_path: Path
) -> None:
    done = convert({"image": images()}, "--keep-float", "pool")
    assert done.exit_code == 0, done.output
    assert "1 operator computes in float: kept in float by the pattern 'pool'" in done.output
    report = verified(call, tmp_path)
    assert [name.split(" ")[0] for name in report["float_ops"]] == ["MEAN", "RESHAPE"]
    assert list(report["float_reasons"]) == report["float_ops"]
    assert sorted(report["float_reasons"].values()) == [
        "it only moves data between ops in float", "kept in float by the pattern 'pool'",
    ]  # fmt: skip


def test_integers_alone_belong_to_integer_activations(call: Call, models: Path) -> None:
    done = call("convert", models / "good.onnx", "--integer-only")
    assert done.exit_code == 2
    assert "Computing on integers alone belongs to int8 and int16x8" in done.stderr


def with_one(number: float) -> Array:
    array = images()
    array[3, 0, 2, 2] = number
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": images(0)}, "own.npz is empty: it holds no samples"),
        ({"image": with_one(np.nan)}, "'image' holds NaN or infinity, first in sample 3"),
        ({"image": with_one(np.inf)}, "'image' holds NaN or infinity, first in sample 3"),
        ({"image": images()[:, :, :7]}, "samples of [1, 7, 8] for input 'image', but"),
        ({"picture": images()}, "no array for input image: float32[1, 1, 8, 8]: expected key"),
        ({"image": np.array(["a"] * 9)}, "'image' holds <U1, expected numbers"),
        (
            {"image": np.full((9, 1, 8, 8), 0.5, np.float32)},
            "samples never change: input 'image' is 0.5 in every element of all 7 samples",
        ),
    ],
)
def test_calibration_data_that_is_wrong(
    convert: Call, tmp_path: Path, arrays: dict[str, Array], message: str
) -> None:
    done = convert(arrays)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_data_that_is_missing_or_damaged(call: Call, models: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.npz"
    damaged.write_bytes(b"PK no archive")
    given = ("convert", models / "good.onnx", "--precision", "int8", "-o", tmp_path / "out")
    for options, message in (
        ((), "no calibration data is named. Give --calibrate SET"),
        (("--calibrate", damaged), "damaged.npz cannot be read as .npz"),
        (("--calibrate", tmp_path / "none.npz"), "none.npz' was not found"),
    ):
        done = call(*given, *options)
        assert done.exit_code == 2, done.output
        assert message in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--keep-float", "cnv*"), "Pattern 'cnv*' matches no node of the model"),
        (("--max-drop", "0.5"), "max_drop limits the loss of accuracy"),
        (("--io", "int8", "--precision", "float32", "--target", "onnxruntime"), "No target asked"),
    ],
)
def test_options_that_contradict(
    convert: Call, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    done = convert({"image": images()}, *options)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


def test_a_quantized_graph_is_kept_and_verified(call: Call, convert: Call, tmp_path: Path) -> None:
    assert convert({"image": images()}).exit_code == 0
    graph = tmp_path / "out" / "good.qdq.onnx"
    before = graph.read_bytes()
    again = call(
        "convert", graph, "--name", "good", "--precision", "int8", "--no-bench",
        "-o", tmp_path / "again",
    )  # fmt: skip
    assert again.exit_code == 0, again.output
    artifact = tmp_path / "again" / "good.int8.tflite"
    checked = call("verify", artifact, "--against", graph, "--json")
    assert checked.exit_code == 0, checked.output
    assert json.loads(checked.stdout)["differing_tensors"] == 0
    assert graph.read_bytes() == before
    report = (tmp_path / "again" / "report" / "report.md").read_text()
    assert "The graph is quantized already" in report
