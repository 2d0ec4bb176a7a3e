"""Artifacts that are folders, from lowering to the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx.parser
import pytest
from typer.testing import CliRunner, Result

from edgekit.cli.main import app
from edgekit.core.artifact import size_on_disk
from edgekit.core.hashing import digest_path
from edgekit.core.metrics import Unavailable
from edgekit.core.run_summary import RunSummary
from edgekit.pipeline import model_files, model_steps, quantization_steps, target_steps
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.registry import get_target, target_info, target_names
from edgekit.pipeline.runner import run_project

if TYPE_CHECKING:
    from edgekit.core.target import Target, TargetInfo
    from tests.unit.pipeline.conftest import FakeTarget, MakeTarget

GRAPH = """
    <ir_version: 10, opset_import: ["" : 20]>
    net (float[1, 1, 8, 8] image) => (float[1, 10] scores)
    <float factor = {FACTOR}, int64[2] flat = {1, 64}, int64[1] starts = {0}, int64[1] ends = {10},
     int64[1] axes = {1}>
    {
        row = Reshape(image, flat)
        part = Slice(row, starts, ends, axes)
        scores = Mul(part, factor)
    }
"""

type Call = Callable[..., Result]


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch, make_target: MakeTarget) -> FakeTarget:
    """The target "fake", whose artifacts are folders, known to plan and command line."""
    made = make_target(folder=True)

    def get(name: str) -> Target:
        return made if name == "fake" else get_target(name)

    def info(name: str) -> TargetInfo:
        return made.info if name == "fake" else target_info(name)

    for place in (model_steps, quantization_steps, target_steps, model_files):
        monkeypatch.setattr(place, "get_target", get)
    monkeypatch.setattr("edgekit.pipeline.registry.get_target", get)
    monkeypatch.setattr(model_files, "target_info", info)
    monkeypatch.setattr(model_files, "target_names", lambda: ("fake", *target_names()))
    return made


def run(folder: Path, factor: float = 2.0) -> tuple[Path, RunSummary, tuple[str, ...]]:
    """Makes out/net.fake; gives its path, the summary and the names of what was written."""
    graph = onnx.parser.parse_model(GRAPH.replace("FACTOR", str(factor)))
    onnx.save(graph, folder / "net.onnx")
    fields: dict[str, Any] = {
        "name": "net",
        "output": folder / "out",
        "store": folder / "store",
        "model": {"source": str(folder / "net.onnx")},
        "data": {"set": "digits", "limit": 20},
        "targets": {"fake": {}},
        "report": {"enabled": False},
    }
    result = run_project(ProjectConfig.model_validate(fields))
    assert result.summary is not None
    written = tuple(path.name for path in result.written)
    return folder / "out" / "net.fake", result.summary, written


def test_a_folder_is_lowered_stored_measured_and_published(
    tmp_path: Path, target: FakeTarget
) -> None:
    place, summary, written = run(tmp_path)
    assert written == ("net.fake",)
    assert sorted(path.name for path in place.rglob("*")) == [
        "Data", "Manifest.json", "graph.onnx",
    ]  # fmt: skip
    (result,) = summary.targets
    assert not isinstance(result.artifact, Unavailable)
    assert result.artifact.digest == digest_path(place)
    sizes = (place / "Manifest.json").stat().st_size, (place / "Data/graph.onnx").stat().st_size
    assert result.artifact.size_bytes == sum(sizes) == size_on_disk(place)
    assert not isinstance(result.accuracy, Unavailable)
    assert result.accuracy.top1.n == 20
    assert run(tmp_path)[2] == ()


def test_an_older_folder_is_replaced_and_a_damaged_one_restored(
    tmp_path: Path, target: FakeTarget
) -> None:
    place, _, _ = run(tmp_path)
    before = digest_path(place)
    (place / "stale").write_text("left by hand")
    assert run(tmp_path)[2] == ("net.fake",)
    assert digest_path(place) == before
    assert run(tmp_path, factor=3.0)[2] == ("net.fake",)
    assert digest_path(place) != before
    assert sorted(path.name for path in place.parent.iterdir()) == ["net.fake"]
    # Of the one in the store, a part is lost: the step is done again.
    stored = next((tmp_path / "store" / "objects").glob(f"*/{before}.fake"))
    (stored / "Data" / "graph.onnx").unlink()
    assert run(tmp_path)[2] == ("net.fake",)
    assert digest_path(place) == digest_path(stored) == before


@pytest.fixture
def call() -> Call:
    def invoke(*line: str | Path) -> Result:
        return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(word) for word in line])

    return invoke


def test_every_command_takes_the_folder(tmp_path: Path, target: FakeTarget, call: Call) -> None:
    place, _, _ = run(tmp_path)
    shown = call("inspect", f"{place}/", "--json")
    assert json.loads(shown.stdout)["format"] == "fake"
    evaluated = call("eval", place, "--data", "digits", "--limit", "12", "--json")
    assert json.loads(evaluated.stdout)["top1"]["n"] == 12
    measured = call("bench", place, "--json")
    assert json.loads(measured.stdout)["p50_ms"] == 1.0
    verified = call("verify", place, "--against", tmp_path / "net.onnx")
    assert (verified.exit_code, "Fakes hold no integers" in verified.stderr) == (5, True)


@pytest.mark.parametrize("command", ["inspect", "eval", "verify", "bench"])
def test_a_file_in_place_of_the_folder_is_told(
    tmp_path: Path, target: FakeTarget, call: Call, command: str
) -> None:
    place, _, _ = run(tmp_path)
    archive = tmp_path / "zipped.fake"
    archive.write_bytes(b"PK")
    (tmp_path / "net.tflite").mkdir()
    more: dict[str, list[str | Path]] = {
        "eval": ["--data", "digits"], "verify": ["--against", tmp_path / "net.onnx"],
    }  # fmt: skip
    for path, message in (
        (archive, "zipped.fake is a file, but a .fake of Fake format is a folder. Give the fold"),
        (place / "Data" / "graph.onnx", "is a part of the model net.fake, which is a folder."),
        (place / "Data", "is a part of the model net.fake, which is a folder."),
        (tmp_path / "net.tflite", "net.tflite is a folder, but a .tflite of TensorFlow Lite"),
    ):
        result = call(command, path, *more.get(command, []))
        assert result.exit_code == 2
        assert message in " ".join(result.stderr.split())


def test_a_link_within_the_folder_is_told(tmp_path: Path, target: FakeTarget, call: Call) -> None:
    place, _, _ = run(tmp_path)
    (place / "more").symlink_to(tmp_path / "net.onnx")
    result = call("eval", place, "--data", "digits")
    assert result.exit_code == 2
    assert "holds a link, more" in " ".join(result.stderr.split())
