"""Tables of several runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.metrics import AccuracyReport, LatencyStats
from edgekit.core.run_summary import ArtifactSummary, GraphSummary, TargetResult
from edgekit.report.figures import (
    format_bytes,
    format_count,
    format_interval,
    format_ms,
    format_points,
    format_share,
)
from edgekit.report.finished_run import ReportedRun
from edgekit.report.measurement_tables import label_of
from edgekit.report.tables import Cell, Column, Table, not_measured, texts


def run_table(runs: Sequence[ReportedRun]) -> Table:
    """What was run, with what and where."""
    rows = []
    for run in runs:
        graph = run.summary.source_graph
        known = graph if isinstance(graph, GraphSummary) else None
        macs = None if known is None else known.macs
        reference = run.summary.reference_accuracy
        rows.append(
            (
                Cell(run.name, detail=str(run.path), tone="strong"),
                Cell("–" if known is None else f"{known.parameters:,}"),
                Cell("–" if macs is None else format_count(macs)),
                not_measured(reference)
                if not isinstance(reference, AccuracyReport)
                else Cell(format_share(reference.top1.value), detail=reference.dataset),
                *texts(run.summary.edgekit_version, str(run.summary.seed)),
                Cell(run.summary.environment.device),
            )
        )
    columns = (
        Column("Run"),
        Column("Parameters", figures=True),
        Column("Multiply-accumulates", figures=True),
        Column("Float graph, top-1", figures=True),
        Column("edgekit"),
        Column("Seed", figures=True),
        Column("Device"),
    )
    return Table(columns, tuple(rows))


def artifact_tables(runs: Sequence[ReportedRun]) -> tuple[Table, ...]:
    """One table for each target and precision: every run that has it, beside the first of them."""
    kinds = dict.fromkeys(label_of(item) for run in runs for item in run.summary.targets)
    return tuple(_artifacts(kind, runs) for kind in kinds)


def _artifacts(kind: str, runs: Sequence[ReportedRun]) -> Table:
    found = [(run, item) for run in runs for item in run.summary.targets if label_of(item) == kind]
    first = found[0][1]
    rows = tuple(
        (Cell(run.name), *_accuracy(item, first), *_size(item, first), *_latency(item, first))
        for run, item in found
    )
    columns = (
        Column("Run"),
        Column("Top-1", figures=True),
        Column("Points", figures=True),
        Column("Size", figures=True),
        Column("Ratio of sizes", figures=True),
        Column("p50", figures=True),
        Column("Ratio of p50", figures=True),
    )
    caption = "Points and ratios are beside the first run; other data and other devices have none."
    return Table(columns, rows, title=kind, caption=caption)


def _accuracy(item: TargetResult, first: TargetResult) -> tuple[Cell, ...]:
    if not isinstance(item.accuracy, AccuracyReport):
        return (not_measured(item.accuracy, span=2),)
    top1, points = item.accuracy.top1, "–"
    if item is not first and isinstance(first.accuracy, AccuracyReport):
        same = first.accuracy.dataset == item.accuracy.dataset and first.accuracy.top1.n == top1.n
        points = format_points(top1.value - first.accuracy.top1.value) if same else "other data"
    detail = f"{format_interval(top1)}, {item.accuracy.dataset}, n = {top1.n}"
    return (Cell(format_share(top1.value), detail=detail), Cell(points))


def _size(item: TargetResult, first: TargetResult) -> tuple[Cell, ...]:
    if not isinstance(item.artifact, ArtifactSummary):
        return (not_measured(item.artifact, span=2),)
    ratio = "–"
    if item is not first and isinstance(first.artifact, ArtifactSummary):
        ratio = f"{item.artifact.size_bytes / first.artifact.size_bytes:.3f}"
    return texts(format_bytes(item.artifact.size_bytes), ratio)


def _latency(item: TargetResult, first: TargetResult) -> tuple[Cell, ...]:
    if not isinstance(item.latency, LatencyStats):
        return (not_measured(item.latency, span=2),)
    ratio = "–"
    if item is not first and isinstance(first.latency, LatencyStats):
        same = first.latency.device == item.latency.device
        ratio = f"{item.latency.p50_ms / first.latency.p50_ms:.3f}" if same else "other device"
    return (
        Cell(format_ms(item.latency.p50_ms), detail=item.latency.device),
        Cell(ratio),
    )
