"""`edgekit check` by command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from typer.testing import Result

from tests.unit.gate.conftest import write_classifier, write_samples

type Call = Callable[..., Result]


class Project:
    """A folder with an artifact and its baseline."""

    def __init__(self, call: Call, folder: Path) -> None:
        self.call, self.folder = call, folder
        write_samples(folder / "samples.npz")
        self.write(0.0)

    def write(self, spoilt: float) -> None:
        write_classifier(self.folder / "lines.onnx", spoilt=spoilt)

    def check(self, *words: str | Path) -> Result:
        return self.call(
            "check", self.folder / "lines.onnx", "--baseline", self.folder / "baseline.json",
            *words,
        )  # fmt: skip

    def update(self, *words: str | Path) -> Result:
        data = f"npz:{self.folder / 'samples.npz'}"
        return self.check("--update", "--data", data, "--no-latency", "--no-memory", *words)


@pytest.fixture
def project(call: Call, tmp_path: Path) -> Project:
    return Project(call, tmp_path)


def test_from_baseline_to_verdict(project: Project) -> None:
    made = project.update()
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("lines.onnx: new, ")
    assert "baseline.json is written; commit it with" in " ".join(made.stderr.split())
    done = project.check()
    assert done.exit_code == 0, done.output
    assert "Verdict: pass (3 passed, 2 not checked)." in done.stdout
    project.write(0.5)
    failed = project.check()
    assert failed.exit_code == 4
    assert "error: The check failed: accuracy of lines.onnx." in failed.stderr
    assert "McNemar p" in failed.stdout
    again = project.update("--json")
    assert json.loads(again.stdout)["changes"][0].startswith("lines.onnx: ")
    assert project.check().exit_code == 0


def test_all_four_gates(project: Project) -> None:
    assert project.update("--latency", "--memory").exit_code == 0
    project.write(0.001)
    done = project.check("--json", "--latency-tolerance", "0.5", "--memory-tolerance", "0.5")
    assert done.exit_code == 0, done.output
    findings = json.loads(done.stdout)["findings"]
    assert [(item["gate"], item["verdict"]) for item in findings] == [
        (gate, "pass") for gate in ("environment", "accuracy", "latency", "size", "memory")
    ]


def test_cannot_tell_fails_unless_it_may_not(project: Project) -> None:
    project.update()
    project.write(0.12)
    done = project.check()
    assert done.exit_code == 4
    assert "The check cannot tell: accuracy of lines.onnx" in done.stderr
    done = project.check("--on-unknown", "warn")
    assert done.exit_code == 0
    assert "warning: the check cannot tell: accuracy of lines.onnx" in done.stderr
    assert "Verdict: cannot tell" in done.stdout


def test_reports(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.update()
    project.write(0.5)
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    made = tmp_path / "reports"
    done = project.check(
        "--json-lines", "--junit", made / "o.xml", "--sarif", made / "o.sarif",
        "--report", made / "o.json",
    )  # fmt: skip
    assert done.exit_code == 4
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("gate") for line in lines] == [
        "environment", "accuracy", "latency", "size", "memory", None,
    ]  # fmt: skip
    assert (lines[-1]["verdict"], "findings" in lines[-1]) == ("fail", False)
    assert ET.parse(made / "o.xml").getroot().get("failures") == "1"
    assert json.loads((made / "o.sarif").read_text())["version"] == "2.1.0"
    assert json.loads((made / "o.json").read_text())["verdict"] == "fail"
    once = summary.read_text()
    assert "**FAIL**" in once
    project.check()
    assert summary.read_text().startswith(once)
    assert len(summary.read_text()) > len(once)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ((), 2, "there is no baseline. Make one of artifacts that are good with --update"),
        (("--json", "--json-lines"), 2, "Choose --json or --json-lines"),
        (("--latency-tolerance", "0.01"), 2, "latency_tolerance: input should be greater"),
        (("--budget", "0"), 2, "seconds: input should be greater than 0"),
    ],
)
def test_wrong_usage(project: Project, words: tuple[str, ...], code: int, message: str) -> None:
    done = project.check(*words)
    assert done.exit_code == code
    assert message in " ".join(done.stderr.split())


def test_a_damaged_baseline_is_exit_code_4(project: Project) -> None:
    (project.folder / "baseline.json").write_text("{")
    done = project.check("--on-unknown", "warn")
    assert done.exit_code == 4
    assert "is damaged" in " ".join(done.stdout.split())


def test_nothing_to_check(call: Call, tmp_path: Path) -> None:
    done = call("check", tmp_path / "none", "--baseline", tmp_path / "b.json")
    assert done.exit_code == 2
    assert "there is no such file or folder" in done.stderr
