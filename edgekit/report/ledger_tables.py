"""The ledger: what every stage cost and gained, and what pruning removed."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.core.pruning_summary import PruneSummary, SparsifySummary
from edgekit.core.run_summary import LedgerRow, RunSummary
from edgekit.report.figures import (
    format_bytes,
    format_count,
    format_interval,
    format_ms,
    format_points,
    format_share,
)
from edgekit.report.tables import Cell, Column, Table, not_measured, texts

_COLUMNS = (
    Column("Stage"),
    Column("Form"),
    Column("Top-1 [%]", figures=True),
    Column("Points", figures=True),
    Column("Flips", figures=True),
    Column("p", figures=True),
)
_SIZES = (
    Column("MACs", figures=True),
    Column("Weights", figures=True),
    Column("Size", figures=True),
    Column("p50", figures=True),
)


def ledger_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Accuracy beside the stage before, and with it MACs, weights, size and latency."""
    if not summary.ledger:
        return ()
    # Quantization alone changes neither MACs nor the number of weights.
    sized = any(row.size_bytes is not None for row in summary.ledger)
    columns = (*_COLUMNS, *(_SIZES if sized else ()))
    rows = []
    for row in summary.ledger:
        cells = (*texts(row.stage, row.form), *_accuracy(row))
        rows.append((*cells, *(_sizes(row) if sized else ())))
    return (Table(columns, tuple(rows), caption=_conditions(summary)),)


def pruning_tables(summary: RunSummary) -> tuple[Table, ...]:
    """What each pruning removed, and what it could not."""
    tables: list[Table] = []
    for item in summary.pruning:
        changed = [row for row in item.channels if row.before != row.after]
        rows = tuple(texts(row.layer, str(row.before), str(row.after)) for row in changed)
        columns = (Column("Layer"), Column("Before", figures=True), Column("After", figures=True))
        tables.append(Table(columns, rows, caption=_pruned(item), title=item.step))
        if item.unpruned:
            reasons = tuple(
                texts(", ".join(layer.layers), layer.reason) for layer in item.unpruned
            )
            left = (Column("Layers"), Column("Why they keep all channels"))
            tables.append(Table(left, reasons, title=f"{item.step}: not pruned"))
    return tuple(tables)


def statistics_line(item: PruneSummary | SparsifySummary) -> str:
    """Whether statistics estimated anew were kept, and the errors that say why; may be empty."""
    if item.output_error is None:
        return ""
    before, after = item.output_error
    kept = "kept" if after < before else "dropped"
    return (
        f"Statistics estimated anew with {item.samples:,} samples of {item.dataset} were "
        f"{kept}: the outputs' squared error beside the parent's, as a share of their "
        f"variance, is {after:.3g} with them and {before:.3g} without."
    )


def _accuracy(row: LedgerRow) -> tuple[Cell, ...]:
    if isinstance(row.accuracy, Unavailable):
        return (not_measured(row.accuracy, span=4),)
    top1 = row.accuracy.top1
    share = Cell(f"{100 * top1.value:.2f}", detail=format_interval(top1))
    if row.paired is None:
        return (share, *texts("–", "–", "–"))
    return (share, *_beside_parent(row.paired))


def _beside_parent(paired: PairedAccuracy) -> tuple[Cell, ...]:
    interval = f"{format_points(paired.low)} to {format_points(paired.high)}"
    return (
        Cell(format_points(paired.difference), detail=interval),
        *texts(f"+{paired.gained} −{paired.lost}", f"{paired.p:.2g}"),
    )


def _sizes(row: LedgerRow) -> tuple[Cell, ...]:
    known = texts(
        "–" if row.macs is None else format_count(row.macs),
        "–" if row.parameters is None else format_count(row.parameters),
        "–" if row.size_bytes is None else format_bytes(row.size_bytes),
    )
    if row.latency is None or isinstance(row.latency, Unavailable):
        return (*known, *texts("–"))
    return (*known, *texts(format_ms(row.latency.p50_ms)))


def _conditions(summary: RunSummary) -> str:
    measured = [
        row.accuracy for row in summary.ledger if not isinstance(row.accuracy, Unavailable)
    ]
    parts = []
    if measured:
        data = "; ".join(dict.fromkeys(f"{item.dataset}, n = {item.top1.n}" for item in measured))
        parts.append(
            f"Accuracy on {data}, in ONNX Runtime without fused kernels: the graphs as they are "
            "written. Points, flips (samples won and lost) and the exact McNemar p are beside "
            "the stage before."
        )
    targets = ", ".join(dict.fromkeys(row.target for row in summary.ledger if row.target))
    if targets:
        parts.append(f"Size and latency of the {targets} file made of each graph.")
    return " ".join(parts)


def _pruned(item: PruneSummary) -> str:
    macs, weights = (after / before for before, after in (item.macs, item.parameters))
    text = (
        f"{format_share(macs)} of the MACs and {format_share(weights)} of the weights are left "
        f"(importance {item.importance}, allocation {item.allocation})."
    )
    if item.latency_ms is not None:
        before, after = item.latency_ms
        text += f" On {item.target} {format_ms(before)} became {format_ms(after)} while pruning."
    return f"{text} {statistics_line(item)}".rstrip()
