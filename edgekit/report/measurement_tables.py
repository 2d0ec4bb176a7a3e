"""Tables of what was measured: accuracy, latency and difference of every artifact."""

from __future__ import annotations

from edgekit.core.metrics import AccuracyReport, Proportion, Unavailable
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
    return f"{result.target} {result.precision}"


def accuracy_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Accuracy of the reference and of every artifact."""
    reference = summary.reference_accuracy
    measured: list[tuple[str, AccuracyReport | Unavailable, Proportion | None]] = [
        ("reference (canonical graph)", reference, None)
    ]
    measured += [(label_of(item), item.accuracy, item.agreement) for item in summary.targets]
    rows: list[tuple[Cell, ...]] = []
    for name, report, agreement in measured:
        if isinstance(report, Unavailable):
            rows.append((Cell(name), not_measured(report, span=7)))
            continue
        points = "–"
        if report is not reference and not isinstance(reference, Unavailable):
            points = format_points(report.top1.value - reference.top1.value)
        figures = (
            format_share(report.top1.value),
            f"{format_interval(report.top1)} %",
            f"{report.top1.hits} of {report.top1.n}",
            "–" if report.top5 is None else format_share(report.top5.value),
            points,
            "–" if agreement is None else f"{agreement.hits} of {agreement.n}",
            f"{report.dataset}, {report.runtime}",
        )
        rows.append((Cell(name), *texts(*figures)))
    figure_names = (
        "Top-1",
        "Wilson interval",
        "Right",
        "Top-5",
        "Points to reference",
        "Same class as reference",
    )
    columns = (
        Column("Artifact"),
        *(Column(name, figures=True) for name in figure_names),
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
