"""What the artifacts of runs offer for what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.core.metrics import AccuracyReport, LatencyStats
from edgekit.core.run_summary import ArtifactSummary, LedgerRow, RunSummary, TargetResult
from edgekit.report.figures import format_bytes, format_ms, format_share
from edgekit.report.tables import Cell, Column, Table

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Point:
    """An artifact with its accuracy.

    Attributes:
        name: What it is called.
        group: What its colour stands for: the target, or the run where there are several.
        form: Numeric form.
        accuracy: Top-1, 0..1.
        latency_ms: Median; None where it was not measured.
        size_kib: Size of the file; None where there is none.
        device: Where the latency was measured; latencies of two devices are not compared.
        dataset: What the accuracy was measured on; accuracies on two sets are not compared.
    """

    name: str
    group: str
    form: str
    accuracy: float
    latency_ms: float | None = None
    size_kib: float | None = None
    device: str = ""
    dataset: str = ""

    def cost(self, name: Literal["latency_ms", "size_kib"]) -> float | None:
        """One of the costs by name."""
        return self.latency_ms if name == "latency_ms" else self.size_kib


def points_of(summary: RunSummary, run: str = "") -> tuple[Point, ...]:
    """Every artifact of a run whose accuracy is known, and the stages before.

    Args:
        summary: The run.
        run: Its name where several runs are shown together; colours then stand for runs.
    """
    found = [point for result in summary.targets if (point := _of_target(result, run)) is not None]
    # Artifacts are lowered from the last graph of their form, which would be drawn twice.
    last = {row.form: row for row in summary.ledger}
    lowered = {(result.target, result.precision) for result in summary.targets}
    stages = [
        point
        for row in summary.ledger
        if row is not last[row.form] or (row.target, row.form) not in lowered
        if (point := _of_stage(row, run)) is not None
    ]
    return (*found, *stages)


def front(points: Iterable[Point], cost: Literal["latency_ms", "size_kib"]) -> tuple[Point, ...]:
    """The points that no other one beats, by rising cost.

    One beats another if it is at least as accurate at no higher cost, and better in one of the
    two. Latencies are compared within a device alone, accuracies within a data set.
    """
    priced = [(point, value) for point in points if (value := point.cost(cost)) is not None]

    def beaten(point: Point, value: float) -> bool:
        return any(
            (cost == "size_kib" or other.device == point.device)
            and other.dataset == point.dataset
            and other.accuracy >= point.accuracy
            and price <= value
            and (other.accuracy > point.accuracy or price < value)
            for other, price in priced
        )

    kept = [(value, point) for point, value in priced if not beaten(point, value)]
    return tuple(point for _, point in sorted(kept, key=lambda item: item[0]))


def trade_off_tables(points: Sequence[Point]) -> tuple[Table, ...]:
    """Every point, and whether it is beaten."""
    if len(points) < 2:
        return ()
    several = len({point.dataset for point in points}) > 1
    fast, small = front(points, "latency_ms"), front(points, "size_kib")
    rows = []
    for point in points:
        latency = point.latency_ms
        size = point.size_kib
        best = [what for what, found in (("latency", fast), ("size", small)) if point in found]
        rows.append(
            (
                Cell(point.name, tone="strong" if best else "plain"),
                Cell(format_share(point.accuracy), detail=point.dataset if several else ""),
                Cell("–" if latency is None else format_ms(latency)),
                Cell("–" if size is None else format_bytes(round(size * _KIB))),
                Cell(" and ".join(best) or "–"),
            )
        )
    columns = (
        Column("Artifact"),
        Column("Top-1", figures=True),
        Column("p50", figures=True),
        Column("Size", figures=True),
        Column("Unbeaten in accuracy and"),
    )
    caption = "Latencies are compared on one device alone, and accuracies on one data set."
    return (Table(columns, tuple(rows), caption=caption),)


def _of_target(result: TargetResult, run: str) -> Point | None:
    if not isinstance(result.accuracy, AccuracyReport):
        return None
    latency, name = result.latency, f"{result.target} {result.precision}"
    measured = latency if isinstance(latency, LatencyStats) else None
    return Point(
        name=f"{run}: {name}" if run else name,
        group=run or result.target,
        form=result.precision,
        accuracy=result.accuracy.top1.value,
        latency_ms=None if measured is None else measured.p50_ms,
        size_kib=(
            result.artifact.size_bytes / _KIB
            if isinstance(result.artifact, ArtifactSummary)
            else None
        ),
        device="" if measured is None else measured.device,
        dataset=_data(result.accuracy),
    )


def _of_stage(row: LedgerRow, run: str) -> Point | None:
    latency = row.latency
    if not isinstance(row.accuracy, AccuracyReport) or not isinstance(latency, LatencyStats):
        return None
    name = f"{row.stage} {row.form} on {row.target}"
    return Point(
        name=f"{run}: {name}" if run else name,
        group=run or row.target,
        form=row.form,
        accuracy=row.accuracy.top1.value,
        latency_ms=latency.p50_ms,
        size_kib=None if row.size_bytes is None else row.size_bytes / _KIB,
        device=latency.device,
        dataset=_data(row.accuracy),
    )


def _data(accuracy: AccuracyReport) -> str:
    return f"{accuracy.dataset}, n = {accuracy.top1.n}"
