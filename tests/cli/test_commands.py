"""Each command on good input: what it prints and what it makes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sklearn.datasets import load_digits
from typer.testing import Result

import edgekit
from edgekit.cli import run_output
from edgekit.core.metrics import AccuracyReport
from edgekit.core.run_summary import RunSummary
from edgekit.core.target import Inspection
from edgekit.data.datasets import DataSpec, open_dataset

type Call = Callable[..., Result]

DEMO = Path(__file__).resolve().parents[2] / "sample_models" / "digits_resnet"


def parsed(result: Result) -> dict[str, object]:
    """Stdout, all of it, as one JSON object."""
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert isinstance(value, dict)
    return value


@pytest.fixture(scope="module")
def digits_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred real digits in the form that ``npz:`` reads."""
    images, labels = load_digits(return_X_y=True)
    path = tmp_path_factory.mktemp("data") / "digits100.npz"
    inputs = images[:100].reshape(-1, 1, 8, 8).astype(np.float32)
    np.savez(path, image=inputs, y=labels[:100].astype(np.int64))
    return path


def test_convert_makes_checked_artifacts_and_a_report(
    call: Call, models: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["-t", "tflite", "-t", "onnxruntime", "-p", "float32", "-p", "float16"]
    result = call("convert", models / "good.onnx", "-o", out, "--no-bench", *options)
    assert result.exit_code == 0, result.output
    made = sorted(path.name for path in out.iterdir())
    assert made == [
        "good.float16.onnx",
        "good.float16.tflite",
        "good.onnx",
        "good.tflite",
        "report",
    ]
    summary = RunSummary.model_validate_json((out / "report" / "report.json").read_text())
    assert [(item.target, item.precision) for item in summary.targets] == [
        ("tflite", "float32"),
        ("tflite", "float16"),
        ("onnxruntime", "float32"),
        ("onnxruntime", "float16"),
    ]
    assert summary.edgekit_version == edgekit.__version__
    for name in ("tflite", "onnxruntime", "float16", "not measured", "--no-bench"):
        assert name in result.stdout
    assert result.stdout.splitlines()[-1] == str(out / "report" / "report.html")
    assert "Latency: Measuring is switched off" in result.stdout
    assert "Ran all" in result.stderr


def test_convert_writes_what_the_command_line_declares(
    call: Call, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("\n".join("abcdefghij"))
    flags = ["--channels", "gray", "--mean", "0.5", "--std", "1/4", "--scale", "1/255"]
    result = call(
        *("convert", models / "good.onnx", "-o", tmp_path / "out", "--no-bench"),
        *("--labels", tmp_path / "labels.txt", "--name", "named", *flags),
    )
    assert result.exit_code == 0, result.output
    found = parsed(call("inspect", tmp_path / "out" / "named.tflite", "--json"))
    metadata = Inspection.model_validate(found).metadata
    assert metadata is not None
    assert metadata.labels == tuple("abcdefghij")
    assert metadata.preprocessing is not None
    assert metadata.preprocessing.mean == (0.5,)
    assert metadata.preprocessing.std == (0.25,)
    assert metadata.preprocessing.scale == 1 / 255
    shown = call("inspect", tmp_path / "out" / "named.tflite").stdout
    assert "a, b, c" in shown


def test_preprocessing_comes_from_a_file_or_from_flags(
    call: Call, models: Path, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text('channels = "gray"\nsize = [8, 8]\n')
    line = ("convert", models / "good.onnx", "--no-bench", "--preprocessing", tmp_path / "p.toml")
    result = call(*line, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    both = call(*line, "-o", tmp_path / "both", "--size", "8")
    assert both.exit_code == 2
    assert "by --size, not both" in both.stderr


def test_run_twice_does_nothing_the_second_time(call: Call, models: Path, tmp_path: Path) -> None:
    project = tmp_path / "edgekit.toml"
    project.write_text(
        f'name = "net"\n[model]\nsource = "{models / "good.onnx"}"\n'
        "[targets.onnxruntime]\n[benchmark]\nruns = 5\nwarmup_runs = 1\nmemory = false\n"
    )
    first = call("run", project)
    assert first.exit_code == 0, first.output
    assert "p50 / p90" in first.stdout
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    second = call("run", project)
    assert second.exit_code == 0
    assert "Nothing to do" in second.stderr
    assert second.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == files


def test_plan_prints_the_steps_and_runs_nothing(call: Call, models: Path, tmp_path: Path) -> None:
    project = tmp_path / "edgekit.toml"
    project.write_text(
        f'name = "net"\n[model]\nsource = "{models / "good.onnx"}"\n[targets.tflite]\n'
    )
    result = call("run", project, "--plan")
    assert result.exit_code == 0, result.output
    assert "lower-tflite-float32" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["edgekit.toml"]


def test_reasons_name_the_artifacts_unless_they_hold_for_all() -> None:
    missing = {
        ("Latency", "switched off"): ["tflite float32", "onnxruntime float32"],
        ("Accuracy", "no runtime"): ["tflite float32"],
    }
    assert run_output._reasons(missing, 2) == [
        "Latency: switched off",
        "Accuracy of tflite float32: no runtime",
    ]


def test_the_demo_can_be_planned(call: Call) -> None:
    result = call("run", DEMO / "edgekit.toml", "--plan")
    assert result.exit_code == 0, result.output
    for step in ("train", "lower-tflite-float16", "benchmark-onnxruntime-float32", "report"):
        assert step in result.stdout


@pytest.mark.slow
def test_the_demo_reaches_its_accuracy(call: Call, tmp_path: Path) -> None:
    result = call("run", DEMO / "edgekit.toml", "-o", tmp_path / "out", "--store", tmp_path / "s")
    assert result.exit_code == 0, result.output
    summary = RunSummary.model_validate_json((tmp_path / "out/report/report.json").read_text())
    assert len(summary.targets) == 3
    for target in summary.targets:
        assert isinstance(target.accuracy, AccuracyReport)
        assert target.accuracy.top1.n == 500
        assert target.accuracy.top1.value >= 0.98


def test_inspect_counts_what_is_known_of_the_model(call: Call, models: Path) -> None:
    found = Inspection.model_validate(parsed(call("inspect", models / "good.onnx", "--json")))
    assert found.macs == 8 * 8 * 10 * 9
    assert found.parameters == 90
    assert {item.op for item in found.ops} == {"Conv", "Relu", "GlobalAveragePool", "Flatten"}
    shown = call("inspect", models / "good.onnx").stdout
    for part in ("5.76 k", "GlobalAveragePool", "1 x 1 x 8 x 8", "scores"):
        assert part in shown


def test_eval_agrees_with_onnxruntime_by_hand(call: Call, models: Path, digits_npz: Path) -> None:
    line = ("eval", models / "good.onnx", "--data", f"npz:{digits_npz}")
    found = parsed(call(*line, "--json"))
    session = onnxruntime.InferenceSession(str(models / "good.onnx"))
    data = np.load(digits_npz)
    hits = 0
    for image, label in zip(data["image"], data["y"], strict=True):
        (scores,) = session.run(None, {"image": image[None]})
        hits += int(np.argmax(scores) == label)
    assert found["top1"]["hits"] == hits  # type: ignore[index]  # JSON
    assert found["top1"]["n"] == 100  # type: ignore[index]  # JSON
    assert f"{hits} of 100" in call(*line).stdout


def test_eval_limits_the_samples(call: Call, models: Path) -> None:
    line = ("eval", models / "good.onnx", "--data", "digits", "--limit", "50", "--json")
    found = parsed(call(*line))
    assert found["top1"]["n"] == 50  # type: ignore[index]  # JSON
    assert "no preprocessing" in str(found["notes"])
    assert len(open_dataset(DataSpec(set="digits"))) == 500


def test_bench_alone_and_against_another(call: Call, models: Path, tmp_path: Path) -> None:
    quick = ["--runs", "5", "--warmup", "1", "--no-memory"]
    alone = parsed(call("bench", models / "good.onnx", *quick, "--json"))
    assert alone["runs"] == 5
    assert float(str(alone["p50_ms"])) > 0
    assert alone["peak_memory_bytes"] is None
    shown = call("bench", models / "good.onnx", *quick).stdout
    assert "not measured" in shown
    other = tmp_path / "other.onnx"
    other.write_bytes((models / "good.onnx").read_bytes())
    against = ("bench", models / "good.onnx", "--vs", other, *quick, "--loads", "6")
    both = parsed(call(*against, "--json"))
    assert (both["loads"], both["pairs"]) == (6, 6)
    assert float(str(both["low"])) <= float(str(both["median_ratio"])) <= float(str(both["high"]))
    shown = call(*against).stdout
    assert "A / B = " in shown
    assert "6 interleaved pairs in 6 fresh loads of both" in shown


def test_targets_says_what_this_machine_can_do(call: Call) -> None:
    result = call("targets", "--json")
    targets = {item["name"]: item for item in json.loads(result.stdout)}
    assert targets["onnxruntime"]["convertible"] == {"here": True, "reason": ""}
    assert targets["tflite"]["engines"] == ["edgekit", "onnx2tf"]
    shown = call("targets").stdout
    for word in ("tflite", "onnxruntime", "Convertible here", "Measurable here", "yes"):
        assert word in shown


def test_schemas_are_json_schemas(call: Call) -> None:
    project = parsed(call("schema"))
    assert "targets" in str(project["properties"])
    report = parsed(call("schema", "--report"))
    assert "schema_version" in str(report["properties"])
    assert report["$schema"] == project["$schema"]


def test_weights_alone_need_no_data_and_are_verified(
    call: Call, models: Path, tmp_path: Path
) -> None:
    forms = ("--precision", "int8-weights", "--precision", "int4-weights")
    targets = ("--target", "tflite", "--target", "onnxruntime")
    done = call("convert", models / "good.onnx", *targets, *forms, "--no-bench", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    for form in ("int8-weights", "int4-weights"):
        graph = tmp_path / f"good{'' if form == 'int8-weights' else f'.{form}'}.qdq.onnx"
        for suffix in (".tflite", ".onnx"):
            verified = call("verify", tmp_path / f"good.{form}{suffix}", "--against", graph)
            assert verified.exit_code == 0, verified.output
            assert "weights alone are integers" in verified.stdout
            assert "LSB" not in verified.stdout
    report = (tmp_path / "report" / "report.md").read_text()
    assert "Dynamic range: 1 layer with integer weights" in report
    assert "8-bit weights per channel: Conv has no kernel for blockwise weights" in report


def test_weights_can_be_restored_instead(call: Call, models: Path, tmp_path: Path) -> None:
    done = call(
        "convert", models / "good.onnx", "--precision", "int8-weights", "--no-bench", "-o",
        tmp_path, "--weight-compute", "exact",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = (tmp_path / "report" / "report.md").read_text()
    assert "Integer weights restored to float32: 1 layer." in report
    assert "(limit 1.0e-04)" in report
