"""Records a finished run in the history, from the summary that its report is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from edgekit.core.metrics import AccuracyReport, LatencyStats, Unavailable
from edgekit.core.run_history import (
    FinishedRun,
    GitState,
    HistoryAccuracy,
    HistoryArtifact,
    HistoryLatency,
    HistoryStage,
)
from edgekit.core.run_summary import (
    ArtifactSummary,
    GraphSummary,
    LedgerRow,
    RunSummary,
    TargetResult,
)
from edgekit.pipeline.run_result import RunResult
from edgekit.store.history import record_run
from edgekit.store.history.git_state import git_state


@dataclass(frozen=True, slots=True)
class HistoryPlace:
    """Where a run is recorded.

    Attributes:
        file: The history; see `edgekit.store.history.history_file`.
        folder: Folder of the project, whose git commit is recorded.
        command: What was called, for example ``"convert"``.
    """

    file: Path
    folder: Path
    command: str = "run"


class RunRecorder:
    """Takes the state at the start of a run, and records the run when it has ended."""

    def __init__(self, place: HistoryPlace) -> None:
        """Starts the clock; files may be edited during a long training, so git is asked now."""
        self._place = place
        self._git: GitState | Unavailable = git_state(place.folder)
        self._begin = perf_counter()

    def record(self, result: RunResult) -> RunResult:
        """Records the run; never raises: where it cannot, the result given back says why."""
        if result.summary is None:
            return result
        duration_s = round(perf_counter() - self._begin, 3)
        try:
            run = finished_run(result, result.summary, self._place.command, self._git, duration_s)
            record_run(self._place.file, run)
        except Exception as error:
            text = str(error) or type(error).__name__
            return replace(
                result,
                history_problem=f"This run is not in the history. {text} "
                "All results are complete; --no-history does without.",
            )
        return result


def finished_run(
    result: RunResult,
    summary: RunSummary,
    command: str,
    git: GitState | Unavailable,
    duration_s: float,
) -> FinishedRun:
    """What the history keeps of a run that has ended just now."""
    return FinishedRun(
        project=summary.project,
        command=command,
        finished=datetime.now(UTC).replace(microsecond=0),
        duration_s=duration_s,
        git=git,
        edgekit_version=summary.edgekit_version,
        device=summary.environment.device,
        system=summary.environment.system,
        seed=summary.seed,
        steps=len(result.steps),
        steps_reused=len(result.reused),
        artifacts=tuple(_artifact(item) for item in summary.targets),
        stages=tuple(_stage(row) for row in summary.ledger),
    )


def _artifact(result: TargetResult) -> HistoryArtifact:
    made = result.artifact
    artifact = made if isinstance(made, ArtifactSummary) else None
    graph = None if artifact is None else artifact.graph
    counted = graph if isinstance(graph, GraphSummary) else None
    return HistoryArtifact(
        form=result.precision,
        target=result.target,
        accuracy=_accuracy(result.accuracy),
        latency=_latency(result.latency),
        size_bytes=made.size_bytes if isinstance(made, ArtifactSummary) else made,
        macs=None if counted is None else counted.macs,
        parameters=None if counted is None else counted.parameters,
        engine=result.engine,
        compute=result.compute,
        deployment_target=result.deployment_target,
        file_name="" if artifact is None else artifact.file_name,
        digest="" if artifact is None else artifact.digest,
    )


def _stage(row: LedgerRow) -> HistoryStage:
    without = Unavailable(reason="no file was made of this graph")
    return HistoryStage(
        form=row.form,
        target=row.target,
        accuracy=_accuracy(row.accuracy),
        latency=without if row.latency is None else _latency(row.latency),
        size_bytes=without if row.size_bytes is None else row.size_bytes,
        macs=row.macs,
        parameters=row.parameters,
        stage=row.stage,
        step=row.step,
        parent=row.parent,
    )


def _accuracy(report: AccuracyReport | Unavailable) -> HistoryAccuracy | Unavailable:
    if isinstance(report, Unavailable):
        return report
    return HistoryAccuracy(
        value=report.top1.value,
        n=report.top1.n,
        dataset=report.dataset,
        runtime=report.runtime,
    )


def _latency(stats: LatencyStats | Unavailable) -> HistoryLatency | Unavailable:
    if isinstance(stats, Unavailable):
        return stats
    kept = stats.model_dump(include=set(HistoryLatency.model_fields))
    return HistoryLatency.model_validate(kept)
