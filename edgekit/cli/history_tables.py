"""The history as tables: one for each target and form, a line for each run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC
from itertools import groupby
from typing import Literal

from edgekit.cli.output import Column, print_table, results
from edgekit.core.history_trend import Change, HistoryPoint, HistorySeries
from edgekit.core.metrics import Unavailable
from edgekit.core.run_history import GitState, HistoryAccuracy, HistoryLatency, RecordedRun
from edgekit.report.figures import format_bytes, format_count, format_ms, format_points

type Metric = Literal["accuracy", "latency", "size"]

_NONE = "–"
_SHORT_COMMIT = 7
_FULL_WIDTH = 90
"""Columns that a table with all figures takes."""


@dataclass(slots=True)
class _Remarks:
    """What stands below the tables of a project, each with the runs that it holds for."""

    runs: dict[str, set[int]] = field(default_factory=dict)
    missing: dict[tuple[str, str], dict[str, set[int]]] = field(default_factory=dict)
    """Runs without a figure by what made none, by figure and reason."""

    def add(self, text: str, run: int) -> None:
        """Notes what holds for a run."""
        self.runs.setdefault(text, set()).add(run)

    def add_missing(self, what: str, reason: str, place: str, run: int) -> None:
        """Notes a figure that was not measured."""
        places = self.missing.setdefault((what, reason.rstrip(".")), {})
        places.setdefault(place, set()).add(run)

    def lines(self, shown: set[int]) -> list[str]:
        """One line for each text, naming the runs unless it holds for all."""
        texts = list(self.runs.items())
        for (what, reason), places in self.missing.items():
            together: dict[frozenset[int], list[str]] = {}
            for place, runs in places.items():
                together.setdefault(frozenset(runs), []).append(place)
            texts += [
                (f"{what} of {', '.join(names)} was not measured: {reason}", set(runs))
                for runs, names in together.items()
            ]
        return [
            f"{text}." if runs == shown else f"{text} ({_runs(runs)})." for text, runs in texts
        ]


@dataclass(frozen=True, slots=True)
class _Cells:
    """The columns of one metric.

    Attributes:
        columns: Where it is one of several.
        details: Further ones, where it is alone.
        row: Cells of all of these for a point; what is to be said below goes to the remarks.
    """

    columns: tuple[Column, ...]
    details: tuple[Column, ...]
    row: Callable[[HistoryPoint, HistorySeries, _Remarks], tuple[list[str], list[str]]]


def print_history(
    series: Iterable[HistorySeries], shown: set[int], *, metric: Metric | None, stages: bool
) -> None:
    """Prints the runs of each series that are to be shown, by project.

    Args:
        series: All series, sorted by project.
        shown: Numbers of the runs to show.
        metric: The one figure to show; None shows all three.
        stages: Show stages also where there are artifacts.
    """
    for _, group in groupby(series, key=lambda item: item.project):
        visible = [_shown(item, shown) for item in group]
        visible = [item for item in visible if item.points]
        artifacts = [item for item in visible if not item.stage]
        chosen = visible if stages or not artifacts else artifacts
        if not chosen:
            continue
        remarks = _Remarks()
        for item in chosen:
            _print_series(item, metric, remarks)
        _print_remarks(chosen, remarks)


def _shown(series: HistorySeries, shown: set[int]) -> HistorySeries:
    points = tuple(point for point in series.points if point.run.id in shown)
    return series.model_copy(update={"points": points})


def _print_series(series: HistorySeries, metric: Metric | None, remarks: _Remarks) -> None:
    # In 80 columns the clock would fold every row.
    narrow = results().width < _FULL_WIDTH
    time, form = ("Date", "%Y-%m-%d") if narrow else ("Time (UTC)", "%Y-%m-%d %H:%M")
    columns = [Column("Run", "right"), Column(time), Column("Commit")]
    metrics = [_METRICS[metric]] if metric else list(_METRICS.values())
    for cells in metrics:
        columns += [*cells.columns, *(cells.details if metric else ())]
    rows = []
    for point in series.points:
        run = point.run
        row = [str(run.id), run.finished.astimezone(UTC).strftime(form), _commit(run, remarks)]
        for cells in metrics:
            figures, details = cells.row(point, series, remarks)
            row += [*figures, *(details if metric else ())]
        rows.append(row)
    print_table(columns, rows, title=_title(series))
    results().print()


def _title(series: HistorySeries) -> str:
    if not series.stage:
        return f"{series.project}: {series.target} {series.form}"
    return f"{series.project}: {series.form} {series.stage} (step {series.step})"


def _commit(run: RecordedRun, remarks: _Remarks) -> str:
    if isinstance(run.git, GitState):
        short = run.git.commit[:_SHORT_COMMIT]
        if not run.git.dirty:
            return short
        remarks.add("*: with changes that were not committed", run.id)
        return f"{short}*"
    remarks.add(f"No commit: {run.git.reason}", run.id)
    return _NONE


def _accuracy(
    point: HistoryPoint, series: HistorySeries, remarks: _Remarks
) -> tuple[list[str], list[str]]:
    found = point.figures.accuracy
    if isinstance(found, Unavailable):
        return _missing("Accuracy", found, point, series, remarks), [_NONE, _NONE]
    remarks.add(f"Accuracy on {found.dataset}, n = {found.n}", point.run.id)
    change = _change(point.accuracy, point, series, lambda item: format_points(item.difference))
    return [f"{100 * found.value:.2f}", change], [str(found.n), found.dataset]


def _latency(
    point: HistoryPoint, series: HistorySeries, remarks: _Remarks
) -> tuple[list[str], list[str]]:
    found = point.figures.latency
    if isinstance(found, Unavailable):
        return _missing("Latency", found, point, series, remarks), [_NONE] * 4
    threads = f"{found.threads} thread{'s' if found.threads != 1 else ''}"
    remarks.add(f"Latency: median on {found.device}, {threads}, batch {found.batch}", point.run.id)
    for note in found.notes:
        remarks.add(f"{series.target} {series.form}: {note}", point.run.id)
    memory = found.peak_memory_bytes
    details = [
        _bare_ms(found.p90_ms),
        str(found.runs),
        _NONE if memory is None else format_bytes(memory),
        found.runtime,
    ]
    return [_bare_ms(found.p50_ms), _change(point.latency, point, series, _percent)], details


def _size(
    point: HistoryPoint, series: HistorySeries, remarks: _Remarks
) -> tuple[list[str], list[str]]:
    figures = point.figures
    details = [
        _NONE if count is None else format_count(count)
        for count in (figures.macs, figures.parameters)
    ]
    if isinstance(figures.size_bytes, Unavailable):
        return _missing("Size", figures.size_bytes, point, series, remarks), details
    change = _change(point.size, point, series, _percent)
    return [format_bytes(figures.size_bytes), change], details


def _right(*titles: str) -> tuple[Column, ...]:
    return tuple(Column(title, "right") for title in titles)


_METRICS: Mapping[Metric, _Cells] = {
    "accuracy": _Cells(
        _right("Top-1 %", "Points"), (Column("n", "right"), Column("Data")), _accuracy
    ),
    "latency": _Cells(
        _right("p50 ms", "Change"),
        (*_right("p90 ms", "Timed", "Memory"), Column("Runtime")),
        _latency,
    ),
    "size": _Cells(_right("Size", "Change"), _right("MACs", "Weights"), _size),
}


def _missing(
    what: str,
    answer: Unavailable,
    point: HistoryPoint,
    series: HistorySeries,
    remarks: _Remarks,
) -> list[str]:
    """Figure and change of something not measured; the reason goes below."""
    place = f"{series.stage or series.target} {series.form}"
    remarks.add_missing(what, answer.reason, place, point.run.id)
    return [_NONE, _NONE]


def _change(
    change: Change | None,
    point: HistoryPoint,
    series: HistorySeries,
    text: Callable[[Change], str],
) -> str:
    """The change; where it is not from the line above, with the run that it is from."""
    if change is None:
        return _NONE
    ids = [item.run.id for item in series.points]
    place = ids.index(point.run.id)
    above = ids[place - 1] if place else change.since_run
    suffix = "" if change.since_run == above else f" (run {change.since_run})"
    return text(change) + suffix


def _percent(change: Change) -> str:
    """Change of a figure in percent of what it was: ``-12.3 %``."""
    if not change.difference:
        return "±0 %"
    if not change.before:
        return _NONE
    percent = 100 * change.difference / change.before
    digits = 0 if abs(percent) >= 99.95 else 1
    return f"{percent:+.{digits}f} %".replace("-", "−")


def _bare_ms(milliseconds: float) -> str:
    return format_ms(milliseconds).removesuffix(" ms")


def _print_remarks(series: list[HistorySeries], remarks: _Remarks) -> None:
    runs = {point.run.id: point.run for item in series for point in item.points}
    idle = {run.id for run in runs.values() if run.steps and run.steps_reused == run.steps}
    lines = remarks.lines(set(runs))
    if idle:
        lines.append(
            f"All steps had been done before, so the figures are of earlier runs ({_runs(idle)})."
        )
    measured = [point.figures for item in series for point in item.points]
    if any(isinstance(item.latency, HistoryLatency) for item in measured) or any(
        isinstance(item.accuracy, HistoryAccuracy) for item in measured
    ):
        lines.append(
            "Changes are beside the run before that measured the same under these conditions; "
            "edgekit check tells what is noise."
        )
    for line in lines:
        results().print(line, markup=False)
    results().print()


def _runs(ids: set[int]) -> str:
    """``run 3`` or ``runs 1-3, 5``, with an en dash."""
    parts: list[str] = []
    ordered = sorted(ids)
    for _, group in groupby(enumerate(ordered), key=lambda item: item[1] - item[0]):
        members = [number for _, number in group]
        first, last = members[0], members[-1]
        parts.append(str(first) if first == last else f"{first}–{last}")
    return f"run{'s' if len(ids) > 1 else ''} {', '.join(parts)}"
