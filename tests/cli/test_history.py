"""Commands record themselves, and ``edgekit history`` shows it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgekit.cli.main import app
from edgekit.core.metrics import AccuracyReport, LatencyStats, Unavailable
from edgekit.core.run_history import HistoryAccuracy, HistoryLatency, HistoryStage
from edgekit.core.run_summary import ArtifactSummary, RunSummary
from edgekit.store.history import history_file, read_history, record_run
from tests.unit.store.history.runs import ACCURACY, LATENCY, artifact, finished

type Call = Callable[..., Result]

PROJECT = """
name = "net"
[model]
source = "good.onnx"
[model.preprocessing]
channels = "gray"
[data]
set = "digits"
limit = {limit}
[targets.onnxruntime]
[targets.tflite]
precision = ["float32", "float16"]
[benchmark]
runs = 5
warmup_runs = 1
memory = false
"""


def git(folder: Path, *words: str) -> str:
    line = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(folder), *words]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def project(models: Path, tmp_path: Path) -> Path:
    """A project in a git repository of its own."""
    shutil.copy(models / "good.onnx", tmp_path)
    (tmp_path / "edgekit.toml").write_text(PROJECT.format(limit=60))
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path / "edgekit.toml"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A store with the history of two projects, made without a run."""
    store = tmp_path / "store"
    file = history_file(store)
    start = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    shared = {"git": Unavailable(reason="not in a git repository")}
    for day, (value, p50_ms, size) in enumerate(
        [(0.984, 0.0283, 68200), (0.988, 0.0250, 68200), (0.970, 0.0250, 34100)]
    ):
        item = artifact(
            accuracy=ACCURACY.model_copy(update={"value": value}),
            latency=LATENCY.model_copy(update={"p50_ms": p50_ms, "notes": ()}),
            size_bytes=size,
        )
        record_run(file, finished(item, finished=start + timedelta(days=day), **shared))
    record_run(file, finished(artifact(target="coreml"), project="other"))
    return store


def test_two_runs_of_a_project_are_shown_with_the_change(call: Call, project: Path) -> None:
    assert call("run", project).exit_code == 0
    # Fewer samples: another accuracy, which is not compared; the files stay what they are.
    project.write_text(PROJECT.format(limit=40))
    assert call("run", project).exit_code == 0
    assert call("run", project).exit_code == 0
    summary = RunSummary.model_validate_json(
        (project.parent / "out" / "report" / "report.json").read_text()
    )
    commit = git(project.parent, "rev-parse", "HEAD")
    first, second, third = read_history(history_file(project.parent / ".edgekit"))
    # The summary leaves out the steps that make it and the report.
    for run in (first, second, third):
        assert (run.project, run.command, run.steps) == ("net", "run", len(summary.steps) + 2)
        assert run.device == summary.environment.device
        assert abs(datetime.now(UTC) - run.finished) < timedelta(minutes=10)
    assert [run.git.model_dump() for run in (first, second)] == [
        {"commit": commit, "dirty": False},
        {"commit": commit, "dirty": True},
    ]
    assert first.steps_reused == 0
    assert 0 < second.steps_reused < second.steps
    assert third.steps_reused == third.steps
    _check_figures(second, summary)
    assert third.artifacts == second.artifacts
    shown = call("history", project)
    assert shown.exit_code == 0, shown.output
    for title in ("net: onnxruntime float32", "net: tflite float32", "net: tflite float16"):
        assert title in shown.stdout
    assert f"{commit[:7]}*" in shown.stdout
    assert "Accuracy on digits/test, n = 60 (run 1)." in shown.stdout
    assert "Accuracy on digits/test, n = 40 (runs 2–3)." in shown.stdout
    assert "figures are of earlier runs (run 3)" in shown.stdout
    assert "\x1b" not in shown.stdout


def _check_figures(run: object, summary: RunSummary) -> None:
    """The history has what the report has."""
    from edgekit.core.run_history import RecordedRun

    assert isinstance(run, RecordedRun)
    assert len(run.artifacts) == len(summary.targets) == 3
    for kept, told in zip(run.artifacts, summary.targets, strict=True):
        assert (kept.target, kept.form, kept.engine) == (told.target, told.precision, told.engine)
        assert isinstance(told.artifact, ArtifactSummary)
        assert (kept.size_bytes, kept.digest) == (told.artifact.size_bytes, told.artifact.digest)
        assert not isinstance(told.artifact.graph, Unavailable)
        assert kept.macs == told.artifact.graph.macs
        assert kept.parameters == told.artifact.graph.parameters
        assert isinstance(told.accuracy, AccuracyReport)
        assert isinstance(kept.accuracy, HistoryAccuracy)
        assert (kept.accuracy.value, kept.accuracy.n) == (told.accuracy.top1.value, 40)
        assert isinstance(told.latency, LatencyStats)
        assert isinstance(kept.latency, HistoryLatency)
        assert kept.latency.p50_ms == told.latency.p50_ms
        assert (kept.latency.runs, kept.latency.threads) == (5, 1)


def test_single_commands_record_themselves_in_the_current_folder(
    call: Call, models: Path, tmp_path: Path
) -> None:
    line = ("convert", models / "good.onnx", "-o", tmp_path / "out", "--no-bench")
    assert call(*line, "--no-history").exit_code == 0
    nothing = call("history")
    assert nothing.exit_code == 2
    assert "There is no history yet" in nothing.stderr
    assert call(*line).exit_code == 0
    assert call(*line, "--store", tmp_path / "store").exit_code == 0
    found = call("history", "good")
    assert found.exit_code == 0
    assert "good: tflite float32" in found.stdout
    assert "Latency of tflite float32 was not measured: Measuring is switched off" in found.stdout
    (here,) = read_history(history_file(Path(".edgekit")))
    (there,) = read_history(history_file(tmp_path / "store"))
    assert here.command == there.command == "convert"


def test_a_stage_without_artifacts_is_shown_by_its_graph(
    call: Call, models: Path, tmp_path: Path
) -> None:
    line = ("quantize", models / "good.onnx", "--data", "digits", "--limit", "40")
    done = call(*line, "--calibration-samples", "16", "--channels", "gray", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    (run,) = read_history(history_file(Path(".edgekit")))
    assert run.command == "quantize"
    assert run.artifacts == ()
    assert [stage.step for stage in run.stages] == ["import_model", "quantize"]
    assert all(isinstance(stage, HistoryStage) and stage.macs for stage in run.stages)
    shown = call("history", "--metric", "size")
    assert "good: int8 PTQ (step quantize)" in shown.stdout
    assert "MACs" in shown.stdout


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda file: file.mkdir(), "a folder of that name is in the way"),
        (lambda file: file.write_text("noise " * 400), "is damaged (file is not a database)"),
    ],
)
def test_a_run_whose_history_cannot_be_written_succeeds_with_one_warning(
    spoil: Callable[[Path], object], why: str, call: Call, models: Path, tmp_path: Path
) -> None:
    file = history_file(Path(".edgekit"))
    spoil(file)
    result = call("convert", models / "good.onnx", "-o", tmp_path / "out", "--no-bench")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "good.tflite").is_file()
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("warning")]
    text = " ".join(result.stderr.split())
    assert "This run is not in the history" in warning
    assert str(file) in result.stderr.replace("\n", "")
    assert why in text
    assert "--no-history does without" in text


def test_a_run_that_fails_is_not_recorded(call: Call, models: Path, tmp_path: Path) -> None:
    result = call("convert", models / "unknown_op.onnx", "-o", tmp_path / "out")
    assert result.exit_code != 0
    assert list(Path.cwd().iterdir()) == []


def test_tables_have_the_change_beside_the_run_before(call: Call, recorded: Path) -> None:
    shown = call("history", "net", "--store", recorded)
    assert shown.exit_code == 0, shown.output
    rows = [line.split() for line in shown.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert rows == [
        ["1", "2026-03-01", "12:30", "–", "98.40", "–", "0.0283", "–", "66.6", "KiB", "–"],
        ["2", "2026-03-02", "12:30", "–", "98.80", "+0.40", "0.0250", "−11.7", "%", "66.6", "KiB",
         "±0", "%"],
        ["3", "2026-03-03", "12:30", "–", "97.00", "−1.80", "0.0250", "±0", "%", "33.3", "KiB",
         "−50.0", "%"],
    ]  # fmt: skip
    assert "No commit: not in a git repository." in shown.stdout
    assert "Latency: median on Some CPU (2 CPUs), 1 thread, batch 1." in shown.stdout
    assert "coreml" not in shown.stdout
    assert "pruned" not in shown.stdout
    assert (
        "net: float32 pruned (step prune)"
        in call("history", "--stages", "--store", recorded).stdout
    )
    assert shown.stdout == call("history", "net", "--store", recorded).stdout


def test_rows_stay_whole_in_a_narrow_terminal(recorded: Path) -> None:
    line = ["history", "net", "--store", str(recorded)]
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, line).stdout
    rows = [row.split() for row in shown.splitlines() if row.strip()[:1].isdigit()]
    assert [row[:3] for row in rows] == [[str(n), f"2026-03-0{n}", "–"] for n in (1, 2, 3)]
    assert [row[-4:] for row in rows[1:]] == [
        ["66.6", "KiB", "±0", "%"],
        ["33.3", "KiB", "−50.0", "%"],
    ]


def test_the_first_run_shown_is_compared_with_the_one_left_out(call: Call, recorded: Path) -> None:
    shown = call("history", "net", "--limit", "1", "--store", recorded, "--metric", "accuracy")
    (row,) = [line.split() for line in shown.stdout.splitlines() if line.strip()[:1].isdigit()]
    assert row == ["3", "2026-03-03", "12:30", "–", "97.00", "−1.80", "500", "digits/test"]
    assert "p50" not in shown.stdout
    assert "The last 1 of 3 runs; --limit 3 shows all." in shown.stderr


def test_json_has_every_column_and_the_changes(call: Call, recorded: Path) -> None:
    shown = call("history", "--json", "--store", recorded)
    assert shown.exit_code == 0, shown.output
    found = json.loads(shown.stdout)
    assert found["history"] == str(history_file(recorded))
    assert [run["id"] for run in found["runs"]] == [1, 2, 3, 4]
    stored = read_history(history_file(recorded))
    assert found["runs"] == [run.model_dump(mode="json") for run in stored]
    (change,) = [
        item
        for item in found["changes"]
        if (item["run"], item["target"], item["form"]) == (3, "tflite", "int8")
    ]
    assert change["size_bytes"] == {"before": 68200.0, "difference": -34100.0, "since_run": 2}
    assert change["accuracy"]["difference"] == pytest.approx(-0.018)
    last = json.loads(call("history", "--json", "--limit", "1", "--store", recorded).stdout)
    assert [run["id"] for run in last["runs"]] == [4]
    assert {item["run"] for item in last["changes"]} == {4}


def test_what_cannot_be_shown_is_one_error(call: Call, recorded: Path) -> None:
    file = history_file(recorded)
    unknown = call("history", "nett", "--store", recorded)
    assert unknown.exit_code == 2
    assert "no run of a project 'nett'. It has runs of: net, other." in unknown.stderr
    both = call("history", "--json", "--metric", "size", "--store", recorded)
    assert both.exit_code == 2
    assert "--json has everything" in both.stderr
    with closing(sqlite3.connect(file)) as db, db:
        db.execute("PRAGMA user_version = 9")
    newer = call("history", "--store", recorded)
    assert newer.exit_code == 2
    assert "a newer edgekit wrote it. Update edgekit" in newer.stderr
    file.write_text("noise " * 400)
    damaged = call("history", "--store", recorded)
    assert damaged.exit_code == 2
    assert f"error: The history {file} is damaged (file is not a database). Move" in damaged.stderr
    file.unlink()
    none = call("history", "--store", recorded)
    assert none.exit_code == 2
    assert none.stderr.startswith("error: There is no history yet")
    for failed in (unknown, both, newer, damaged, none):
        assert failed.stdout == ""
        assert len(failed.stderr.splitlines()) == 1
