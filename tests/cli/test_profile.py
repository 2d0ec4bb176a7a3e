"""`edgekit profile` by command line, on artifacts of all three targets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from edgekit.cli.main import app

type Call = Callable[..., Result]

SIZE, NARROW, WIDE, CLASSES = 32, 8, 64, 10
LIGHT_MACS = SIZE * SIZE * NARROW * NARROW
WIDENING_MACS = SIZE * SIZE * NARROW * WIDE * 9
HEAVY_MACS = SIZE * SIZE * WIDE * WIDE * 9
DENSE_MACS = WIDE * CLASSES


def network() -> onnx.ModelProto:
    """Three convolutions, of which the last does nine tenths of the work."""
    rng = np.random.default_rng(0)
    shapes = {
        "light": (NARROW, NARROW, 1, 1),
        "widening": (WIDE, NARROW, 3, 3),
        "heavy": (WIDE, WIDE, 3, 3),
        "dense": (CLASSES, WIDE),
    }
    weights = [
        numpy_helper.from_array(
            (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name
        )
        for name, shape in shapes.items()
    ]
    around = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["image", "light"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("Conv", ["b", "widening"], ["c"], name="c", pads=around),
        helper.make_node("Relu", ["c"], ["d"], name="d"),
        helper.make_node("Conv", ["d", "heavy"], ["e"], name="e", pads=around),
        helper.make_node("Relu", ["e"], ["f"], name="f"),
        helper.make_node("GlobalAveragePool", ["f"], ["g"], name="g"),
        helper.make_node("Flatten", ["g"], ["h"], name="h"),
        helper.make_node("Gemm", ["h", "dense"], ["scores"], name="scores", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, NARROW, SIZE, SIZE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the network for all targets, in float and, with one layer kept, in int8."""
    folder = tmp_path_factory.mktemp("profiled")
    onnx.save(network(), folder / "net.onnx")
    samples = np.random.default_rng(1).uniform(-1, 1, (8, NARROW, SIZE, SIZE))
    np.savez(folder / "own.npz", image=samples.astype(np.float32))
    line = [
        "convert", folder / "net.onnx", "-t", "tflite", "-t", "onnxruntime", "-t", "coreml",
        "-p", "float32", "-p", "int8", "--calibrate", folder / "own.npz", "--keep-float", "a",
        "--calibration-method", "minmax", "--no-bench", "-o", folder / "out",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [str(word) for word in line])
    assert done.exit_code == 0, done.output
    return folder / "out"


def profiled(call: Call, path: Path, *options: str) -> dict[str, Any]:
    done = call("profile", path, "--json", "--loads", "2", "--runs", "30", *options)
    assert done.exit_code == 0, done.output
    profile: dict[str, Any] = json.loads(done.stdout)
    return profile


def named(profile: dict[str, Any], name: str) -> dict[str, Any]:
    # On some processors ONNX Runtime puts changes of layout beside a layer, under its name.
    found = [item for item in profile["operators"] if item["name"] == name and item["macs"]]
    assert len(found) == 1, [item["name"] for item in profile["operators"]]
    operator: dict[str, Any] = found[0]
    return operator


def check_sums(profile: dict[str, Any]) -> None:
    """What holds of every profile: parts add up, and the whole is near what was measured."""
    times = [item["time_us"]["value"] for item in profile["operators"]]
    whole = profile["sum_us"]["value"]
    assert sum(times) == pytest.approx(whole)
    assert sum(item["share"]["value"] for item in profile["operators"]) == pytest.approx(1)
    for totals in (profile["by_type"], profile["by_partition"]):
        assert sum(item["time_us"]["value"] for item in totals) == pytest.approx(whole)
        assert sum(item["operators"] for item in totals) == len(times)
    assert 0.3 < profile["coverage"]["value"] < 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("net.tflite", ("b", "d", "f")),
        ("net.onnx", ("b", "d", "f")),
        ("net.mlpackage", ("a", "c", "e")),
    ],
)
def test_the_heavy_layer_takes_most_of_the_time(
    call: Call, artifacts: Path, name: str, values: tuple[str, str, str]
) -> None:
    profile = profiled(call, artifacts / name)
    check_sums(profile)
    light, widening, heavy = (named(profile, value) for value in values)
    assert light["macs"] == LIGHT_MACS
    assert widening["macs"] == WIDENING_MACS
    assert heavy["macs"] == HEAVY_MACS
    macs = sum(item["macs"] or 0 for item in profile["operators"])
    assert macs == LIGHT_MACS + WIDENING_MACS + HEAVY_MACS + DENSE_MACS
    # Nine tenths of the products; the rest is left to elementwise operators and a busy machine.
    assert heavy["share"]["value"] > 0.4
    assert heavy["share"]["value"] == max(item["share"]["value"] for item in profile["operators"])
    assert heavy["gmacs_per_s"] == pytest.approx(HEAVY_MACS / heavy["time_us"]["value"] / 1e3)
    assert not any(item["float_island"] for item in profile["operators"])


def test_every_operator_of_the_file_is_listed_with_who_runs_it(
    call: Call, artifacts: Path
) -> None:
    profile = profiled(call, artifacts / "net.tflite")
    assert sorted(item["index"] for item in profile["operators"]) == list(
        range(len(profile["operators"]))
    )
    inspected = json.loads(call("inspect", artifacts / "net.tflite", "--json").stdout)
    counts = {item["op"]: item["count"] for item in inspected["ops"]}
    assert {item["key"]: item["operators"] for item in profile["by_type"]} == counts
    assert {item["partition"] for item in profile["operators"]} == {"XNNPACK 1"}
    assert "IGEMM" in named(profile, "f")["kernels"][0]
    assert profile["target"] == "tflite"
    assert not profile["notes"]


@pytest.mark.parametrize("suffix", [".tflite", ".onnx"])
def test_a_layer_in_float_within_integers_is_flagged(
    call: Call, artifacts: Path, suffix: str
) -> None:
    profile = profiled(call, artifacts / f"net.int8{suffix}")
    islands = [item for item in profile["operators"] if item["float_island"]]
    assert any(item["macs"] == LIGHT_MACS for item in islands)
    assert not any(item["macs"] == HEAVY_MACS for item in islands)
    assert any("pattern 'a'" in item["reason"] for item in islands)


def test_the_table(call: Call, artifacts: Path) -> None:
    line = ("profile", artifacts / "net.int8.tflite", "--loads", "2", "--runs", "5", "--top", "3")
    done = call(*line)
    assert done.exit_code == 0, done.output
    assert "the 3 of " in done.stdout
    assert "GMAC/s" in done.stdout
    assert "float" in done.stdout
    assert "the operators cover" in done.stdout
    assert "\x1b" not in done.stdout
    assert "Method: LiteRT's own profiler" in " ".join(done.stderr.split())


def test_core_ml_is_said_to_be_another_runtime(call: Call, artifacts: Path) -> None:
    profile = profiled(call, artifacts / "net.mlpackage")
    check_sums(profile)
    assert "not the Neural Engine" in profile["runtime"]
    assert any("not verified on this machine" in note for note in profile["notes"])


def test_bad_input(call: Call, models: Path, artifacts: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("I am no model.\n")
    cases = [
        (("profile", tmp_path / "absent.tflite"), 2, "there is no such file"),
        (("profile", text), 2, "is not a TensorFlow Lite model"),
        (("profile", models / "truncated.onnx"), 2, "truncated.onnx"),
        (("profile", Path(__file__)), 2, "belongs to no target"),
        (("profile", artifacts / "net.tflite", "-t", "onnxruntime"), 2, "runs .onnx"),
        (("profile", artifacts / "net.tflite", "--loads", "1"), 2, "--loads"),
    ]
    for line, code, message in cases:
        done = call(*line)
        assert done.exit_code == code, done.output
        assert message in " ".join(done.output.split()), done.output
        assert "Traceback" not in done.output
