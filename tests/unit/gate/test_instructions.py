"""The verdict on instruction counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edgekit.cli.main import app
from edgekit.core.instruction_count import InstructionCount
from edgekit.core.metrics import Unavailable
from edgekit.errors import UnsupportedError
from edgekit.gate.instructions import judge_counts
from edgekit.gate.verdict import Verdict
from edgekit.targets.onnxruntime.target import OnnxRuntimeTarget
from tests.unit.gate.conftest import write_classifier


def counted(*runs: int, arithmetic: str = "int8 x int8") -> InstructionCount:
    return InstructionCount(
        runs=runs, target="tflite", runtime="LiteRT 2", arithmetic=arithmetic,
        processor="AVX2", tool="valgrind-3.19.0",
    )  # fmt: skip


BEFORE = counted(1000_000, 1000_300, 1000_500)


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (counted(1000_000, 1000_300, 1000_500), Verdict.PASS),
        (counted(1009_000, 1009_300, 1009_500), Verdict.PASS),
        (counted(900_000, 900_300, 900_500), Verdict.PASS),
        (counted(1011_000, 1011_400, 1011_700), Verdict.FAIL),
        (counted(1009_000, 1010_900, 1012_500), Verdict.CANNOT_TELL),
    ],
)
def test_ratio_against_tolerance(now: InstructionCount, verdict: Verdict) -> None:
    found = judge_counts("net.tflite", BEFORE, now, 0.01)
    assert found.verdict is verdict
    assert found.gate == "instructions"
    assert (found.before, found.now) == (1000_300, now.instructions)
    assert f"{now.instructions / 1000_300:.4f} times" in found.text
    assert bool(found.remedy) == (verdict is not Verdict.PASS)


def test_other_arithmetic_is_never_a_pass() -> None:
    now = counted(1000, 1000, 1000, arithmetic="float32 x float32")
    found = judge_counts("net.tflite", BEFORE, now, 0.01)
    assert found.verdict is Verdict.CANNOT_TELL
    assert "float32 x float32 against int8 x int8" in found.text
    assert found.now is None


type Check = Callable[..., Result]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """`edgekit check` of a classifier whose weights are not those of the baseline."""
    baseline = ("--baseline", str(tmp_path / "baseline.json"))
    path = write_classifier(tmp_path / "lines.onnx")
    only = ("--no-latency", "--no-memory")

    def invoke(*words: str) -> Result:
        line = ["check", str(path), *baseline, *words]
        return CliRunner(env={"COLUMNS": "160"}).invoke(app, line)

    made = invoke("--update", "--instructions", *only)
    assert made.exit_code == 0, made.output
    write_classifier(path, spoilt=0.01)
    return invoke


def finding(done: Result) -> dict[str, str]:
    (found,) = (
        item for item in json.loads(done.stdout)["findings"] if item["gate"] == "instructions"
    )
    result: dict[str, str] = found
    return result


def test_the_option_is_kept_in_the_baseline(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [counted(1000, 1000, 1000), counted(1020, 1020, 1020)]
    monkeypatch.setattr(
        OnnxRuntimeTarget, "count_instructions", lambda self, artifact: counts.pop(0)
    )
    done = check("--json")
    assert done.exit_code == 4
    assert finding(done)["verdict"] == "fail"
    assert "1.0200 times the baseline's 1,000" in finding(done)["text"]


def test_a_tolerance_by_option(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = [counted(1000, 1000, 1000), counted(1020, 1020, 1020)]
    monkeypatch.setattr(
        OnnxRuntimeTarget, "count_instructions", lambda self, artifact: counts.pop(0)
    )
    done = check("--json", "--instruction-tolerance", "0.05")
    assert finding(done)["verdict"] == "pass"
    assert "instructions" not in {
        item["gate"]
        for item in json.loads(check("--json", "--no-instructions").stdout)["findings"]
    }


@pytest.mark.parametrize(
    "answer", [Unavailable(reason="valgrind is not installed"), UnsupportedError("it died")]
)
def test_what_cannot_be_counted_cannot_be_told(
    check: Check, monkeypatch: pytest.MonkeyPatch, answer: Unavailable | UnsupportedError
) -> None:
    def count(self: OnnxRuntimeTarget, artifact: Path) -> Unavailable:
        if isinstance(answer, UnsupportedError):
            raise answer
        return answer

    monkeypatch.setattr(OnnxRuntimeTarget, "count_instructions", count)
    done = check("--json")
    assert done.exit_code == 4
    assert finding(done)["verdict"] == "cannot tell"
    assert "It cannot be counted: " in finding(done)["text"]
    assert check("--json", "--on-unknown", "warn").exit_code == 0
