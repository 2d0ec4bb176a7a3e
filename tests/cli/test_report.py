"""``edgekit report`` on good and bad runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

type Call = Callable[..., Result]

PROJECT = """
name = "{name}"
[model]
source = "{model}"
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
[data]
set = "digits"
[evaluate]
limit = 40
[benchmark]
runs = 3
[targets.onnxruntime]
"""


def project(models: Path, folder: Path, name: str = "net") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(PROJECT.format(name=name, model=models / "good.onnx"))
    return path


@pytest.fixture
def run(call: Call, models: Path, tmp_path: Path) -> Path:
    """Output folder of a small run."""
    result = call(
        "run", project(models, tmp_path), "-o", tmp_path / "out", "--store", tmp_path / "store"
    )
    assert result.exit_code == 0, result.output
    return tmp_path / "out"


def test_a_run_is_rendered_anew_from_its_report(call: Call, run: Path, tmp_path: Path) -> None:
    for place in (run, run / "report", run / "report" / "report.json"):
        page = tmp_path / "new" / "page.html"
        result = call("report", place, "-o", page)
        assert result.exit_code == 0, result.output
        assert page.read_bytes() == (run / "report" / "report.html").read_bytes()
        assert result.stdout.strip() == str(page)
        page.unlink()


def test_a_run_without_stages_or_quantization_has_no_such_sections(run: Path) -> None:
    text = (run / "report" / "report.html").read_text()
    for absent in ("ledger", "layer-errors", "ranges", "training", "qat", "float"):
        assert f'<section id="{absent}">' not in text
    assert '<section id="predictions">' in text


def test_two_runs_of_one_project_are_told_apart(call: Call, run: Path, tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    result = call("report", run, run / "report", "-o", page)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert "net (out)" in text
    assert "net (report)" in text
    assert "<title>2 runs" in text
    other = tmp_path / "elsewhere" / "out"
    shutil.copytree(run, other)
    assert call("report", run, other, "-o", page).exit_code == 0
    assert f"net ({run})" in page.read_text()
    assert f"net ({other})" in page.read_text()


def test_a_page_is_not_written_over_a_folder_or_its_own_source(
    call: Call, run: Path, tmp_path: Path
) -> None:
    source = run / "report" / "report.json"
    before = source.read_bytes()
    for output, message in ((tmp_path, "is a folder"), (source, "would be written over")):
        result = call("report", run, "-o", output)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {output} is ")
        assert message in result.stderr
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no report: neither report.json nor report/report.json is there"),
        ("{ not json", "report.json is damaged: Expecting property name"),
        ("[1, 2]", "is no report of edgekit: it names no schema_version"),
        ('{"schema_version": 99}', "has schema version 99, and edgekit .* reads version 1"),
        ('{"schema_version": 1, "edgekit_version": "9.9"}', "written by edgekit 9.9 and does not"),
    ],
)
def test_a_bad_run_is_one_error_and_no_page(
    call: Call, tmp_path: Path, content: str | None, message: str
) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    if content is not None:
        (folder / "report.json").write_text(content)
    page = tmp_path / "page.html"
    result = call("report", folder, "-o", page)
    assert result.exit_code == 2
    shown = " ".join(result.stderr.split())
    assert shown.startswith("error: ")
    assert re.search(message, shown), shown
    assert result.stderr.count("error:") == 1
    assert not page.exists()


def test_a_run_that_is_not_there_is_named(call: Call, tmp_path: Path) -> None:
    result = call("report", tmp_path / "none")
    assert result.exit_code == 2
    assert "error: There is no run at " in result.stderr
