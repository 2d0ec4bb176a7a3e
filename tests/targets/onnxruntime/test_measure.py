"""Latency and peak memory of real files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact
from edgekit.core.load_plan import LoadPlan
from edgekit.core.metrics import LatencyStats
from edgekit.core.target import BenchConfig, RuntimeConfig
from edgekit.errors import InputError
from edgekit.graph.io import save_onnx
from edgekit.graph.values import add_initializer
from edgekit.measure.artifact_latency import compare_latency, timed_run
from edgekit.measure.device import device_name
from edgekit.measure.feeds import random_feeds
from edgekit.measure.memory import peak_memory
from edgekit.targets.onnxruntime.runtime import OrtSession
from edgekit.targets.onnxruntime.target import create_target

FACTORY = "edgekit.targets.onnxruntime.target:create_target"
PRELOAD = ("edgekit.targets.onnxruntime.runtime",)
MIB = 1 << 20


def square(path: Path, side: int, repeats: int = 1) -> Path:
    """A chain of matrix products with one weight of ``side`` x ``side``."""
    lines = "\n".join(f"  h{index + 1} = MatMul (h{index}, w)" for index in range(repeats))
    model = ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 20]>\n'
        f"g (float[16, {side}] h0, float[{side}, {side}] w) => (float[16, {side}] h{repeats})"
        f" {{\n{lines}\n}}"
    )
    weight = model.graph.inputs.pop(1)
    constant = add_initializer(model.graph, "weight", np.eye(side, dtype=np.float32))
    ir.convenience.replace_all_uses_with(weight, constant)
    save_onnx(model, path)
    return path


def test_figures_bear_their_conditions(source: Artifact) -> None:
    config = BenchConfig(runs=20, warmup_runs=5, threads=2, memory=False)
    stats = create_target().measure(source.path, config)
    assert isinstance(stats, LatencyStats)
    assert 0 < stats.min_ms <= stats.p50_ms <= stats.p90_ms
    assert (stats.runs, stats.threads, stats.batch) == (20, 2, 1)
    assert stats.warmup_runs >= 10
    assert stats.runtime.startswith("ONNX Runtime")
    assert stats.device == device_name()
    assert stats.peak_memory_bytes is None


def test_peak_memory_holds_the_weights(tmp_path: Path) -> None:
    small = peak_memory(FACTORY, square(tmp_path / "small.onnx", 8), preload=PRELOAD)
    large = peak_memory(FACTORY, square(tmp_path / "large.onnx", 2048), preload=PRELOAD)
    assert (small.note, large.note) == ("", "")
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    grown = large.peak_bytes - small.peak_bytes
    weight = 2048 * 2048 * 4
    # The weights once at least; the file's buffer and a packed copy may come on top.
    assert 0.9 * weight < grown < 4 * weight
    assert small.peak_bytes < 64 * MIB


def test_the_figure_does_not_depend_on_the_size_of_this_process(source: Artifact) -> None:
    before = peak_memory(FACTORY, source.path, preload=PRELOAD)
    ballast = np.ones(256 * MIB // 8)
    after = peak_memory(FACTORY, source.path, preload=PRELOAD)
    assert ballast.sum() > 0
    assert before.peak_bytes is not None
    assert after.peak_bytes is not None
    assert before.peak_bytes > MIB
    assert abs(after.peak_bytes - before.peak_bytes) < 16 * MIB
    assert after.baseline_bytes is not None
    assert after.baseline_bytes < 256 * MIB


@pytest.mark.parametrize(
    ("factory", "preload", "message"),
    [
        (
            "edgekit.targets.onnxruntime.target:create_target",
            ("no_such_module",),
            "no_such_module",
        ),
        ("edgekit.no_such_module:create_target", (), "ModuleNotFoundError"),
        ("os:abort", (), "ended with code -6"),
    ],
)
def test_a_failure_becomes_a_note(
    source: Artifact, factory: str, preload: tuple[str, ...], message: str
) -> None:
    result = peak_memory(factory, source.path, preload=preload)
    assert result.peak_bytes is None
    assert message in result.note


def test_a_damaged_file_and_a_hanging_process_become_notes(
    source: Artifact, tmp_path: Path
) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    assert "is no ONNX file" in peak_memory(FACTORY, tmp_path / "text.onnx").note
    hanging = peak_memory(FACTORY, source.path, timeout_s=0.01)
    assert hanging.note == "the process did not end within 0.01 s"


def test_a_missing_memory_figure_stands_with_its_reason(
    source: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekit.measure.memory._WORKER", "edgekit.no_such_module")
    stats = create_target().measure(source.path, BenchConfig(runs=1, warmup_runs=0))
    assert isinstance(stats, LatencyStats)
    assert stats.peak_memory_bytes is None
    assert "peak memory was not measured: the process ended with code 1" in stats.notes[0]


def test_checks_of_the_feeds_are_not_timed(
    source: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = OrtSession(source.path, RuntimeConfig())
    run = timed_run(session)

    def refuse(*_: object) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr("edgekit.targets.onnxruntime.runtime.check_feeds", refuse)
    run()
    with pytest.raises(AssertionError, match="checked again"):
        session.run(random_feeds(session.signature, seed=0))


def test_a_wrong_file_is_not_measured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No ONNX file"):
        create_target().measure(tmp_path / "absent.onnx", BenchConfig())


def test_more_work_takes_longer_in_fresh_loads(tmp_path: Path) -> None:
    paths = (square(tmp_path / "short.onnx", 128), square(tmp_path / "long.onnx", 128, repeats=24))
    short, long = (partial(OrtSession, path, RuntimeConfig()) for path in paths)
    ratio = compare_latency(short, long, LoadPlan(loads=6, pairs=8))
    assert (ratio.loads, ratio.pairs) == (6, 48)
    assert ratio.low <= ratio.median_ratio <= ratio.high < 0.7
    assert ratio.ratio_of_medians == pytest.approx(ratio.a_p50_ms / ratio.b_p50_ms)
