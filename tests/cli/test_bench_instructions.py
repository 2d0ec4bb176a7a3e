"""`edgekit bench --instructions` by command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from edgekit.core.instruction_count import InstructionCount
from edgekit.measure.callgrind import unsupported_machine
from edgekit.targets.onnxruntime.target import OnnxRuntimeTarget

type Call = Callable[..., Result]


def counted(*runs: int, arithmetic: str = "float32 x float32") -> InstructionCount:
    return InstructionCount(
        runs=runs, target="onnxruntime", runtime="ONNX Runtime 1", arithmetic=arithmetic,
        processor="AVX2", tool="valgrind-3.19.0",
    )  # fmt: skip


@pytest.mark.parametrize(("other", "ratio"), [("float32 x float32", 0.8), ("int8 x int8", None)])
def test_two_artifacts(
    call: Call, models: Path, monkeypatch: pytest.MonkeyPatch, other: str, ratio: float | None
) -> None:
    line = ("bench", models / "good.onnx", "--vs", models / "good.onnx", "--instructions")

    def answers() -> None:
        counts = [counted(800, 801, 801), counted(1000, 1001, 1002, arithmetic=other)]
        monkeypatch.setattr(
            OnnxRuntimeTarget, "count_instructions", lambda self, artifact: counts.pop(0)
        )

    answers()
    done = call(*line, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["a"]["instructions"], found["b"]["instructions"]) == (801, 1001)
    assert found["ratio"] == (None if ratio is None else pytest.approx(ratio, abs=1e-3))
    answers()
    shown = call(*line).stdout
    assert "A / B = 0.8002" in shown if ratio is not None else "No ratio: " in shown


def test_bad_requests(
    call: Call, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = models / "good.onnx"
    monkeypatch.setenv("PATH", str(tmp_path))
    cases = [
        (("bench", good, "--instructions"), 5, "valgrind is not installed"),
        (("bench", good, "--instructions", "--threads", "2"), 2, "with one thread"),
        (("bench", models / "text.onnx", "--instructions"), 2, "text.onnx"),
        (("bench", tmp_path / "absent.tflite", "--instructions"), 2, "there is no such file"),
    ]
    for line, code, message in cases:
        done = call(*line)
        assert done.exit_code == code, done.output
        assert message in " ".join(done.output.split())


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("valgrind") is None or bool(unsupported_machine()),
    reason="valgrind is not installed, or not for this machine",
)
def test_a_real_count(call: Call, models: Path) -> None:
    done = call("bench", models / "good.onnx", "--instructions", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["tool"].startswith("valgrind-3.")
    assert len(found["runs"]) == 3
    # 5,760 products at 8 lanes, and what it takes to call the runtime at all.
    assert 5_000 < found["instructions"] < 5_000_000
