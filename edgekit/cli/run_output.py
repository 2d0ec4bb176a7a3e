"""What ``convert`` and ``run`` print when they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.cli.output import Column, print_table, remark, results
from edgekit.core.metrics import Unavailable
from edgekit.report.build import REPORT_PAGE
from edgekit.report.figures import (
    format_bytes,
    format_difference,
    format_interval,
    format_ms,
    format_share,
    worst_relative,
)
from edgekit.report.ledger_tables import ledger_tables
from edgekit.report.sparsity_tables import sparsity_line
from edgekit.report.summary_table import conditions

if TYPE_CHECKING:
    from edgekit.core.run_summary import QatSummary, RunSummary, TargetResult
    from edgekit.pipeline.run_result import RunResult


type _Missing = dict[tuple[str, str], list[str]]
"""Artifacts without a figure, by what was to be measured and the reason."""


def print_run(result: RunResult) -> None:
    """The table of figures, what was done, warnings, and where the files lie."""
    if result.summary is not None:
        if result.summary.ledger:
            _print_ledger(result.summary)
        if result.summary.targets:
            _print_summary(result.summary)
        _print_warnings(result.summary)
    if result.history_problem:
        remark(f"warning: {result.history_problem}")
    remark(result.describe())
    results().print()
    for path in result.outputs:
        page = path / REPORT_PAGE
        shown = page if page.is_file() else path
        results().print(str(shown), markup=False, soft_wrap=True)


def _print_summary(summary: RunSummary) -> None:
    """One line for each artifact, narrow enough for 80 columns; reasons stand below."""
    columns = (
        Column("Target"),
        Column("Precision"),
        Column("Size", "right"),
        Column("Top-1 [%]", "right"),
        Column("p50 / p90 [ms]", "right"),
        Column("Difference", "right"),
    )
    missing: _Missing = {}
    rows = [_row(result, missing) for result in summary.targets]
    print_table(columns, rows)
    results().print()
    lines = [conditions(summary)]
    if any(not isinstance(result.difference, Unavailable) for result in summary.targets):
        lines.append(
            "Difference: largest from ONNX Runtime on the same graph (int8: the QDQ graph), as a "
            "share of the output's range."
        )
    for line in (*lines, *_reasons(missing, len(rows))):
        if line:
            results().print(line, markup=False)


def _print_ledger(summary: RunSummary) -> None:
    """Accuracy from the float graph to the last form of each QDQ graph."""
    (table,) = ledger_tables(summary)
    columns = [Column(item.title, "right" if item.figures else "left") for item in table.columns]
    reasons: dict[str, list[str]] = {}
    rows = []
    for row in table.rows:
        cells: list[str] = []
        for cell in row:
            cells += [cell.text, *[""] * (cell.span - 1)]
            if cell.tone == "missing":
                reasons.setdefault(cell.detail, []).append(f"{cells[0]} {cells[1]}")
        rows.append(cells)
    print_table(columns, rows)
    results().print()
    lines = [table.caption] if table.caption else []
    for reason, names in reasons.items():
        every = len(names) == len(rows)
        lines.append(
            f"Accuracy: {reason}" if every else f"Accuracy of {', '.join(names)}: {reason}"
        )
    lines += [f"{item.step}: {sparsity_line(item)}" for item in summary.sparsifying]
    for line in (*lines, *(_course(item) for item in summary.qat)):
        results().print(line, markup=False)
    results().print()


def _course(item: QatSummary) -> str:
    """What the training gained on the samples kept back."""
    before, after = item.curve[0].score, item.curve[item.best_epoch].score
    figures = f"{format_share(before)} to {format_share(after)}"
    if item.task == "imitate":
        figures = f"{before:.1f} dB to {after:.1f} dB of signal to quantization noise"
    if not item.best_epoch:
        return f"QAT {item.scheme}: no epoch did better than PTQ on the samples kept back."
    return (
        f"QAT {item.scheme}: {figures} on {item.held_out} samples kept back; epoch "
        f"{item.best_epoch} of {len(item.curve) - 1} is kept."
    )


def _reasons(missing: _Missing, artifacts: int) -> list[str]:
    """One line for each reason, naming the artifacts unless it holds for all."""
    return [
        f"{what}: {reason}"
        if len(names) == artifacts
        else f"{what} of {', '.join(names)}: {reason}"
        for (what, reason), names in missing.items()
    ]


def _row(result: TargetResult, unmeasured: _Missing) -> tuple[str, ...]:
    """The figures of one artifact; why one is missing goes to ``unmeasured``."""

    def missing(what: str, answer: Unavailable) -> str:
        names = unmeasured.setdefault((what, answer.reason), [])
        names.append(f"{result.target} {result.precision}")
        return "not measured"

    artifact, accuracy, latency = result.artifact, result.accuracy, result.latency
    difference = result.difference
    return (
        result.target,
        result.precision,
        missing("Size", artifact)
        if isinstance(artifact, Unavailable)
        else format_bytes(artifact.size_bytes),
        missing("Accuracy", accuracy)
        if isinstance(accuracy, Unavailable)
        else f"{100 * accuracy.top1.value:.2f} ({format_interval(accuracy.top1)})",
        missing("Latency", latency)
        if isinstance(latency, Unavailable)
        else f"{format_ms(latency.p50_ms)} / {format_ms(latency.p90_ms)}".replace(" ms", ""),
        missing("Difference", difference)
        if isinstance(difference, Unavailable)
        else format_difference(worst_relative(difference)),
    )


def _print_warnings(summary: RunSummary) -> None:
    for note in summary.notes:
        if note.level == "warning":
            place = f" ({note.where})" if note.where else ""
            remark(f"warning{place}: {note.text}")
    for target in summary.targets:
        for note in target.notes:
            if note.level == "warning":
                where = f"{target.target} {target.precision}"
                place = f", {note.where}" if note.where else ""
                remark(f"warning ({where}{place}): {note.text}")
