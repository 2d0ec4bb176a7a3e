"""The table that a run ends with: one line for each target and precision."""

from __future__ import annotations

from edgekit.core.metrics import (
    AccuracyReport,
    LatencyStats,
    OutputDifference,
    Proportion,
    Unavailable,
)
from edgekit.core.run_summary import ArtifactSummary, RunSummary, TargetResult
from edgekit.report.figures import (
    format_agreement,
    format_bytes,
    format_difference,
    format_interval,
    format_ms,
    format_share,
    worst_relative,
)
from edgekit.report.tables import Cell, Column, Table, not_measured


def summary_table(summary: RunSummary) -> Table:
    """Size, accuracy, latency and difference of every artifact of a run."""
    return Table(
        (
            Column("Target"),
            Column("Precision"),
            Column("Size", figures=True),
            Column("Top-1 accuracy", figures=True),
            Column("Latency p50 / p90", figures=True),
            Column("Difference to ONNX Runtime", figures=True),
        ),
        tuple(_row(result) for result in summary.targets),
        caption=conditions(summary),
    )


def conditions(summary: RunSummary) -> str:
    """The conditions that the figures of the summary share."""
    parts = []
    accuracies = [item.accuracy for item in summary.targets]
    measured = [item for item in accuracies if not isinstance(item, Unavailable)]
    if measured:
        data = sorted({f"{item.dataset}, n = {item.top1.n}" for item in measured})
        confidence = 100 * measured[0].top1.confidence
        parts.append(
            f"Accuracy on {'; '.join(data)}, with the {confidence:.0f} % Wilson interval."
        )
    latencies = [item.latency for item in summary.targets]
    timed = [item for item in latencies if not isinstance(item, Unavailable)]
    if timed:
        parts.append(f"Latency on {_latency_conditions(timed)}.")
    return " ".join(parts)


def _latency_conditions(measured: list[LatencyStats]) -> str:
    """The conditions of all measurements, as ranges where they differ."""
    devices = "; ".join(dict.fromkeys(item.device for item in measured))
    threads, batch, runs, warmup = (
        _range([getattr(item, name) for item in measured])
        for name in ("threads", "batch", "runs", "warmup_runs")
    )
    plural = "thread" if threads == "1" else "threads"
    return f"{devices}, {threads} {plural}, batch {batch}, {runs} runs after {warmup} warm-up runs"


def _range(values: list[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def accuracy_cell(accuracy: AccuracyReport | Unavailable, agreement: Proportion | None) -> Cell:
    """Top-1 accuracy with its interval, and how often the reference predicts the same."""
    if isinstance(accuracy, Unavailable):
        return not_measured(accuracy)
    detail = format_interval(accuracy.top1)
    if agreement is not None:
        detail += f", {format_agreement(agreement)} as ONNX Runtime"
    return Cell(format_share(accuracy.top1.value), detail=detail, tone="strong")


def latency_cell(latency: LatencyStats | Unavailable) -> Cell:
    """Median and 90th percentile with the runtime."""
    if isinstance(latency, Unavailable):
        return not_measured(latency)
    p50, unit = format_ms(latency.p50_ms).split()
    p90 = format_ms(latency.p90_ms).split()[0]
    return Cell(f"{p50} / {p90} {unit}", detail=latency.runtime, tone="strong")


def difference_cell(
    differences: tuple[OutputDifference, ...] | Unavailable, tolerance: float
) -> Cell:
    """Worst relative difference against what was accepted."""
    if isinstance(differences, Unavailable):
        return not_measured(differences)
    worst = worst_relative(differences)
    within = worst <= tolerance
    limit = f"{'limit' if within else 'above the limit'} {format_difference(tolerance)}"
    return Cell(format_difference(worst), detail=limit, tone="good" if within else "warn")


def artifact_cell(artifact: ArtifactSummary | Unavailable) -> Cell:
    """Size of the file with its name."""
    if isinstance(artifact, Unavailable):
        return Cell("not made", detail=artifact.reason, tone="missing")
    return Cell(format_bytes(artifact.size_bytes), detail=artifact.file_name)


def _row(result: TargetResult) -> tuple[Cell, ...]:
    details = [result.title]
    if result.engine != "edgekit":
        details.append(f"engine {result.engine}")
    if result.compute:
        details.append(f"computes in {result.compute}")
    if result.deployment_target:
        details.append(f"for {result.deployment_target}")
    return (
        Cell(result.target, detail=", ".join(details), tone="strong"),
        Cell(result.precision),
        artifact_cell(result.artifact),
        accuracy_cell(result.accuracy, result.agreement),
        latency_cell(result.latency),
        difference_cell(result.difference, result.tolerance),
    )
