"""Runs as rows of the tables, and rows as runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import (
    Figures,
    FinishedRun,
    GitState,
    HistoryAccuracy,
    HistoryArtifact,
    HistoryLatency,
    HistoryStage,
    RecordedRun,
)

type Row = dict[str, Any]
"""Values by column."""

_ARTIFACT = ("form", "target", "engine", "compute", "deployment_target", "file_name", "digest")
_STAGE = ("form", "target", "stage", "step", "parent")
_RUN = (
    "project", "command", "duration_s", "edgekit_version", "device", "system", "seed", "steps",
    "steps_reused",
)  # fmt: skip


def run_row(run: FinishedRun) -> Row:
    """The row of table ``runs``, without its number."""
    row: Row = {name: getattr(run, name) for name in _RUN}
    row["finished"] = run.finished.isoformat()
    if isinstance(run.git, Unavailable):
        return row | {"git_missing": run.git.reason}
    return row | {"git_commit": run.git.commit, "git_dirty": int(run.git.dirty)}


def artifact_row(artifact: HistoryArtifact) -> Row:
    """The row of table ``artifacts``, without its place."""
    return {name: getattr(artifact, name) for name in _ARTIFACT} | _figures_row(artifact)


def stage_row(stage: HistoryStage) -> Row:
    """The row of table ``stages``, without its place."""
    return {name: getattr(stage, name) for name in _STAGE} | _figures_row(stage)


def run_of(
    row: Mapping[str, Any],
    artifacts: tuple[HistoryArtifact, ...],
    stages: tuple[HistoryStage, ...],
) -> RecordedRun:
    """The run of a row.

    Raises:
        ValueError: If the row does not hold what was written.
    """
    git: object = Unavailable(reason=row["git_missing"] or "")
    if row["git_commit"] is not None:
        git = GitState(commit=row["git_commit"], dirty=row["git_dirty"])
    fields = {name: row[name] for name in _RUN}
    return RecordedRun.model_validate(
        fields
        | {"id": row["id"], "finished": row["finished"], "git": git}
        | {"artifacts": artifacts, "stages": stages}
    )


def artifact_of(row: Mapping[str, Any]) -> HistoryArtifact:
    """The artifact of a row; raises ValueError as `run_of` does."""
    fields = {name: row[name] for name in _ARTIFACT}
    return HistoryArtifact.model_validate(fields | _figures_of(row))


def stage_of(row: Mapping[str, Any]) -> HistoryStage:
    """The stage of a row; raises ValueError as `run_of` does."""
    fields = {name: row[name] for name in _STAGE}
    return HistoryStage.model_validate(fields | _figures_of(row))


def _figures_row(figures: Figures) -> Row:
    accuracy, latency, size = figures.accuracy, figures.latency, figures.size_bytes
    row: Row = {"macs": figures.macs, "parameters": figures.parameters}
    if isinstance(accuracy, Unavailable):
        row["accuracy_missing"] = accuracy.reason
    else:
        row |= {
            "accuracy_metric": accuracy.metric,
            "accuracy": accuracy.value,
            "accuracy_n": accuracy.n,
            "accuracy_dataset": accuracy.dataset,
            "accuracy_runtime": accuracy.runtime,
        }
    if isinstance(latency, Unavailable):
        row["latency_missing"] = latency.reason
    else:
        row |= {
            "p50_ms": latency.p50_ms,
            "p90_ms": latency.p90_ms,
            "latency_runs": latency.runs,
            "warmup_runs": latency.warmup_runs,
            "threads": latency.threads,
            "batch": latency.batch,
            "latency_runtime": latency.runtime,
            "latency_device": latency.device,
            "peak_memory_bytes": latency.peak_memory_bytes,
            "latency_notes": json.dumps(latency.notes),
        }
    if isinstance(size, Unavailable):
        return row | {"size_missing": size.reason}
    return row | {"size_bytes": size}


def _figures_of(row: Mapping[str, Any]) -> Row:
    accuracy: object = Unavailable(reason=row["accuracy_missing"] or "")
    if row["accuracy"] is not None:
        accuracy = HistoryAccuracy(
            metric=row["accuracy_metric"],
            value=row["accuracy"],
            n=row["accuracy_n"],
            dataset=row["accuracy_dataset"],
            runtime=row["accuracy_runtime"],
        )
    latency: object = Unavailable(reason=row["latency_missing"] or "")
    if row["p50_ms"] is not None:
        latency = HistoryLatency(
            p50_ms=row["p50_ms"],
            p90_ms=row["p90_ms"],
            runs=row["latency_runs"],
            warmup_runs=row["warmup_runs"],
            threads=row["threads"],
            batch=row["batch"],
            runtime=row["latency_runtime"],
            device=row["latency_device"],
            peak_memory_bytes=row["peak_memory_bytes"],
            notes=tuple(json.loads(row["latency_notes"])),
        )
    size: object = row["size_bytes"]
    if size is None:
        size = Unavailable(reason=row["size_missing"] or "")
    return {
        "accuracy": accuracy,
        "latency": latency,
        "size_bytes": size,
        "macs": row["macs"],
        "parameters": row["parameters"],
    }
