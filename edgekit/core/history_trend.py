"""How the figures of one target and form changed from run to run."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

from edgekit.core.model_base import FrozenModel
from edgekit.core.run_history import (
    Figures,
    HistoryAccuracy,
    HistoryArtifact,
    HistoryLatency,
    HistoryStage,
    RecordedRun,
)


class Change(FrozenModel):
    """A figure beside the one before.

    Attributes:
        before: The earlier figure, in the figure's own unit.
        difference: What the later one is greater by.
        since_run: Run that the earlier one is of.
    """

    before: float
    difference: float
    since_run: int


class HistoryPoint(FrozenModel):
    """The figures of one run in a series.

    Each is compared with the last earlier run that measured the same under equal conditions;
    None where there is none.

    Attributes:
        run: The run, without the figures of its other artifacts.
        figures: What was measured.
        accuracy: Change of the accuracy, as a share; conditions: metric, data set and number
            of samples.
        latency: Change of the median, in milliseconds; conditions: device, threads and batch.
        size: Change of the size, in bytes.
    """

    run: RecordedRun
    figures: HistoryArtifact | HistoryStage
    accuracy: Change | None = None
    latency: Change | None = None
    size: Change | None = None


class HistorySeries(FrozenModel):
    """The runs of a project that made the same thing, the oldest first.

    Attributes:
        project: Name of the project.
        target: Target; for a stage the one that its size and latency hold for.
        form: Numeric form.
        stage: What made it, for a row of the ledger; empty for an artifact.
        step: Step of the plan, for a row of the ledger; empty for an artifact.
        points: One for each run.
    """

    project: str
    target: str
    form: str
    stage: str = ""
    step: str = ""
    points: tuple[HistoryPoint, ...]


@dataclass(slots=True)
class _Series:
    """A series that grows, with the last figure of each under its conditions."""

    target: str
    stage: str
    points: list[HistoryPoint] = field(default_factory=list)
    last: dict[Hashable, tuple[int, float]] = field(default_factory=dict)

    def add(self, run: RecordedRun, figures: HistoryArtifact | HistoryStage) -> None:
        changes = {
            name: self._change(run.id, (name, *conditions), value)
            for name, conditions, value in _values(figures)
        }
        alone = run.model_copy(update={"artifacts": (), "stages": ()})
        self.points.append(HistoryPoint(run=alone, figures=figures, **changes))

    def _change(self, run: int, key: Hashable, value: float) -> Change | None:
        earlier = self.last.get(key)
        self.last[key] = (run, value)
        if earlier is None:
            return None
        since, before = earlier
        return Change(before=before, difference=value - before, since_run=since)


def history_series(runs: Iterable[RecordedRun]) -> tuple[HistorySeries, ...]:
    """Sorts runs into series: by project, then artifacts before stages, in order of appearance.

    Args:
        runs: The oldest first, as `edgekit.store.history.read_history` gives them.
    """
    projects: dict[str, dict[tuple[str, str, str], _Series]] = {}
    for run in runs:
        series = projects.setdefault(run.project, {})
        for artifact in run.artifacts:
            key = ("", artifact.target, artifact.form)
            series.setdefault(key, _Series(artifact.target, "")).add(run, artifact)
        for stage in run.stages:
            key = (stage.step or stage.stage, "", stage.form)
            series.setdefault(key, _Series(stage.target, stage.stage)).add(run, stage)
    return tuple(
        HistorySeries(
            project=project,
            target=found.target,
            form=form,
            stage=found.stage,
            step=step,
            points=tuple(found.points),
        )
        for project, series in sorted(projects.items())
        for (step, _, form), found in sorted(series.items(), key=lambda item: bool(item[0][0]))
    )


def _values(figures: Figures) -> list[tuple[str, tuple[object, ...], float]]:
    """Each figure that was measured, with the conditions under which it may be compared."""
    found: list[tuple[str, tuple[object, ...], float]] = []
    accuracy, latency, size = figures.accuracy, figures.latency, figures.size_bytes
    if isinstance(accuracy, HistoryAccuracy):
        conditions = (accuracy.metric, accuracy.dataset, accuracy.n)
        found.append(("accuracy", conditions, accuracy.value))
    if isinstance(latency, HistoryLatency):
        found.append(("latency", (latency.device, latency.threads, latency.batch), latency.p50_ms))
    if isinstance(size, int):
        found.append(("size", (), size))
    return found
