"""Runs to record in tests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import (
    FinishedRun,
    GitState,
    HistoryAccuracy,
    HistoryArtifact,
    HistoryLatency,
    HistoryStage,
)

ACCURACY = HistoryAccuracy(value=0.984, n=500, dataset="digits/test", runtime="LiteRT 2.1.2")
LATENCY = HistoryLatency(
    p50_ms=0.0283,
    p90_ms=0.0301,
    runs=100,
    warmup_runs=20,
    threads=1,
    batch=1,
    runtime="LiteRT 2.1.2",
    device="Some CPU (2 CPUs)",
    notes=("the latency did not settle",),
)


def artifact(**changes: Any) -> HistoryArtifact:
    """An artifact with all figures, some of them changed."""
    made = HistoryArtifact(
        form="int8",
        target="tflite",
        accuracy=ACCURACY,
        latency=LATENCY,
        size_bytes=68200,
        macs=359_000,
        parameters=51_900,
        engine="edgekit",
        file_name="net.int8.tflite",
        digest="ab" * 32,
    )
    return made.model_copy(update=changes)


def stage(**changes: Any) -> HistoryStage:
    """A row of a ledger, some of it changed."""
    made = HistoryStage(
        form="float32",
        accuracy=ACCURACY,
        latency=Unavailable(reason="no file was made of this graph"),
        size_bytes=Unavailable(reason="no file was made of this graph"),
        stage="pruned",
        step="prune",
        parent="train",
    )
    return made.model_copy(update=changes)


def finished(*artifacts: HistoryArtifact, **changes: Any) -> FinishedRun:
    """A run, with an artifact and a stage unless others are given."""
    made = FinishedRun(
        project="net",
        command="run",
        finished=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        duration_s=12.5,
        git=GitState(commit="0123456789abcdef" * 2 + "01234567", dirty=False),
        edgekit_version="0.1.0",
        device="Some CPU (2 CPUs)",
        system="Linux x86_64",
        seed=7,
        steps=12,
        steps_reused=3,
        artifacts=artifacts or (artifact(),),
        stages=(stage(),),
    )
    return made.model_copy(update=changes)
