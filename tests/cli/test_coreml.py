"""Core ML by command line: convert, run, verify, inspect, compress, and what can go wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from typer.testing import Result

from edgekit.graph.io import save_onnx
from edgekit.graph.values import add_initializer

type Call = Callable[..., Result]


@pytest.fixture
def package(call: Call, models: Path, tmp_path: Path) -> Path:
    """``good.onnx`` as W8A8, with the QDQ graph beside it."""
    images = np.random.default_rng(1).uniform(-1, 1, (9, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "own.npz", allow_pickle=False, image=images)
    done = call(
        "convert", models / "good.onnx", "--target", "coreml", "--target", "tflite",
        "--precision", "int8", "--no-bench", "--calibrate", tmp_path / "own.npz",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    return tmp_path / "out" / "good.int8.mlpackage"


def test_one_graph_is_exact_on_both_targets(call: Call, package: Path) -> None:
    graph = package.parent / "good.qdq.onnx"
    for artifact in (package, package.parent / "good.int8.tflite"):
        result = call("verify", artifact, "--against", graph, "--json")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert report["differing_tensors"] == 0
        assert report["compared_tensors"] >= 5
        assert report["max_lsb"] <= 1
        assert report["custom_ops"] == []


def test_inspect(call: Call, package: Path) -> None:
    result = call("inspect", package, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["format"] == "coreml"
    assert "not the Neural Engine" in found["details"]["runs_here_in"]
    assert int(found["details"]["quantize_ops"]) >= 2


def test_choices_of_core_ml(call: Call, models: Path, tmp_path: Path) -> None:
    done = call(
        "convert", models / "good.onnx", "--target", "coreml", "--precision", "float16",
        "--deployment-target", "iOS16", "--no-bench", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(
        call("inspect", tmp_path / "out" / "good.float16.mlpackage", "--json").stdout
    )
    assert found["details"]["opset"] == "CoreML6"
    refused = call(
        "convert", models / "good.onnx", "--target", "coreml", "--deployment-target", "iOS14",
        "--no-bench", "-o", tmp_path / "other",
    )  # fmt: skip
    assert refused.exit_code == 2
    assert "iOS14 is not offered; accepted: iOS18" in refused.output


def test_bench_says_why_not(call: Call, package: Path) -> None:
    result = call("bench", package)
    assert result.exit_code == 5
    assert "Apple's systems alone" in result.output


DENSE = """
<ir_version: 10, opset_import: ["" : 20]>
dense (float[1, 64] x, float[32, 64] w) => (float[1, 32] y) { y = Gemm <transB = 1> (x, w) }
"""


def test_compress(call: Call, tmp_path: Path) -> None:
    model = ir.from_onnx_text(DENSE)
    weight = np.random.default_rng(0).standard_normal((32, 64)).astype(np.float32)
    old = model.graph.inputs.pop()
    ir.convenience.replace_all_uses_with(old, add_initializer(model.graph, "weight", weight))
    save_onnx(model, tmp_path / "dense.onnx")
    done = call(
        "convert", tmp_path / "dense.onnx", "--target", "coreml", "--precision", "float16",
        "--no-bench", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    source, small = tmp_path / "out" / "dense.float16.mlpackage", tmp_path / "small.mlpackage"
    result = call("compress", source, "-o", small, "--palettize", "4", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["package"] == str(small)
    assert 10 < found["sqnr_db"] < 40
    assert found["operators"] == {"constexpr_lut_to_dense": 1}
    assert call("compress", source, "-o", small, "--sparse", "0.5").exit_code == 0
    refused = call("compress", source, "-o", tmp_path / "none.mlpackage", "--zeros")
    assert refused.exit_code == 3
    assert "of which 20% or more are 0" in " ".join(refused.output.split())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "Choose one of --palettize"),
        (("--palettize", "4", "--sparse", "0.5"), "Choose one of --palettize"),
        (("--zeros", "--sparse", "0.5"), "--pattern N:M, and --zeros"),
        (("--zeros", "--group-size", "4"), "belong to --palettize"),
        (("--sparse", "0.5", "--uniform"), "belong to --palettize"),
        (("--pattern", "4:2"), "is none; write N:M"),
        (("--palettize", "5"), "no palettes of 5 bits"),
    ],
)
def test_wrong_ways_to_compress(
    call: Call, package: Path, tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    result = call("compress", package, "-o", tmp_path / "small.mlpackage", *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.output.split())
    assert not (tmp_path / "small.mlpackage").exists()


def test_a_damaged_package_is_one_clear_error(call: Call, package: Path, tmp_path: Path) -> None:
    shutil.rmtree(package / "Data" / "com.apple.CoreML" / "weights", ignore_errors=True)
    (package / "Data" / "com.apple.CoreML" / "model.mlmodel").write_bytes(b"\x08\x09\x12")
    for arguments in (("inspect",), ("compress", "-o", str(tmp_path / "x.mlpackage"),
                                     "--palettize", "4")):  # fmt: skip
        result = call(arguments[0], package, *arguments[1:])
        assert result.exit_code == 2
        assert "damaged" in result.output
        assert "Traceback" not in result.output


def test_nothing_to_compress(call: Call, tmp_path: Path) -> None:
    text = DENSE.replace("64", "4").replace("32", "4").replace(", float[4, 4] w)", ")")
    model = ir.from_onnx_text(text.replace("Gemm <transB = 1> (x, w)", "Relu (x)"))
    save_onnx(model, tmp_path / "dense.onnx")
    done = call(
        "convert", tmp_path / "dense.onnx", "--target", "coreml", "--no-bench",
        "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    source = tmp_path / "out" / "dense.mlpackage"
    result = call("compress", source, "-o", tmp_path / "small.mlpackage", "--palettize", "4")
    assert result.exit_code == 3
    assert "nothing to compress" in " ".join(result.output.split())
    assert not (tmp_path / "small.mlpackage").exists()
