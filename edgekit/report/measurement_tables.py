"""Tables of what was measured: accuracy, latency and difference of every artifact."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.run_summary import RunSummary, TargetResult
from edgekit.report.figures import (
    format_bytes,
    format_difference,
    format_interval,
    format_ms,
    format_points,
    format_share,
)
from edgekit.report.tables import Cell, Column, Table, not_measured, texts


def label_of(result: TargetResult) -> str:
    """Target and precision in one phrase."""
    return f"{result.title} {result.precision}"


def accuracy_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Accuracy of the reference and of every artifact."""
    reference = summary.reference_accuracy
    rows: list[tuple[Cell, ...]] = []
    named = [("Reference (canonical graph)", reference)]
    named += [(label_of(result), result.accuracy) for result in summary.targets]
    for name, report in named:
        if isinstance(report, Unavailable):
            rows.append((Cell(name), not_measured(report, span=6)))
            continue
        top5 = "–" if report.top5 is None else format_share(report.top5.value)
        against = "–"
        if report is not reference and not isinstance(reference, Unavailable):
            same = report.predictions_digest == reference.predictions_digest
            points = format_points(report.top1.value - reference.top1.value)
            against = "same predictions" if same else f"{points} points"
        figures = (
            format_share(report.top1.value),
            f"{format_interval(report.top1)} %",
            f"{report.top1.hits} of {report.top1.n}",
            top5,
            against,
            f"{report.dataset}, {report.runtime}",
        )
        rows.append((Cell(name), *texts(*figures)))
    columns = (
        Column("Artifact"),
        Column("Top-1", figures=True),
        Column("Wilson interval", figures=True),
        Column("Right", figures=True),
        Column("Top-5", figures=True),
        Column("Against the reference", figures=True),
        Column("Data set and runtime"),
    )
    return (Table(columns, tuple(rows)),)


def latency_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Latency and memory of every artifact, with the conditions."""
    rows: list[tuple[Cell, ...]] = []
    for result in summary.targets:
        stats = result.latency
        if isinstance(stats, Unavailable):
            rows.append((Cell(label_of(result)), not_measured(stats, span=7)))
            continue
        memory = "–" if stats.peak_memory_bytes is None else format_bytes(stats.peak_memory_bytes)
        conditions = (
            f"threads {stats.threads}, batch {stats.batch}, {stats.runs} runs "
            f"after {stats.warmup_runs} warm-up runs"
        )
        times = (stats.p50_ms, stats.p90_ms, stats.mean_ms, stats.min_ms)
        rows.append(
            (
                Cell(label_of(result)),
                *(Cell(format_ms(time)) for time in times),
                Cell(memory),
                Cell(conditions),
                Cell(f"{stats.runtime} on {stats.device}"),
            )
        )
    columns = (
        Column("Artifact"),
        *(Column(name, figures=True) for name in ("p50", "p90", "Mean", "Fastest")),
        Column("Peak memory", figures=True),
        Column("Conditions"),
        Column("Runtime and device"),
    )
    return (Table(columns, tuple(rows)),) if rows else ()


def difference_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Difference of every output from ONNX Runtime on the canonical graph."""
    rows: list[tuple[Cell, ...]] = []
    for result in summary.targets:
        if isinstance(result.difference, Unavailable):
            rows.append((Cell(label_of(result)), not_measured(result.difference, span=5)))
            continue
        for item in result.difference:
            within = item.relative <= result.tolerance
            rows.append(
                (
                    Cell(label_of(result)),
                    Cell(item.output),
                    Cell(format_difference(item.max_abs)),
                    Cell(f"{item.reference_range:.4g}"),
                    Cell(format_difference(item.relative), tone="good" if within else "warn"),
                    Cell(format_difference(result.tolerance)),
                )
            )
    columns = (
        Column("Artifact"),
        Column("Output"),
        Column("Largest difference", figures=True),
        Column("Range of the reference", figures=True),
        Column("Relative", figures=True),
        Column("Accepted", figures=True),
    )
    return (Table(columns, tuple(rows)),) if rows else ()
