"""Tables of quantization-aware training: what it gained, and its course."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.run_summary import QatSummary, RunSummary
from edgekit.report.figures import format_agreement, format_interval, format_points, format_share
from edgekit.report.tables import Cell, Column, Table, not_measured, texts


def ledger_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Accuracy from the float graph over post-training quantization to fine-tuning."""
    if not summary.ledger:
        return ()
    start = summary.ledger[0].accuracy
    rows: list[tuple[Cell, ...]] = []
    for row in summary.ledger:
        if isinstance(row.accuracy, Unavailable):
            rows.append((*texts(row.stage, row.form), not_measured(row.accuracy, span=4)))
            continue
        top1 = row.accuracy.top1
        points = "–"
        if row.accuracy is not start and not isinstance(start, Unavailable):
            points = format_points(top1.value - start.top1.value)
        same = "–" if row.agreement is None else format_agreement(row.agreement)
        figures = (format_share(top1.value), f"{format_interval(top1)} %", points, same)
        rows.append(texts(row.stage, row.form, *figures))
    columns = (
        Column("Stage"),
        Column("Form"),
        Column("Top-1", figures=True),
        Column("Wilson interval", figures=True),
        Column("Points to float", figures=True),
        Column("Same class as float", figures=True),
    )
    return (Table(columns, tuple(rows), caption=_ledger_conditions(summary)),)


def _ledger_conditions(summary: RunSummary) -> str:
    measured = [
        row.accuracy for row in summary.ledger if not isinstance(row.accuracy, Unavailable)
    ]
    if not measured:
        return ""
    data = "; ".join(dict.fromkeys(f"{item.dataset}, n = {item.top1.n}" for item in measured))
    return f"On {data}, in ONNX Runtime without fused kernels: the graphs as they are written."


def qat_tables(summary: RunSummary) -> tuple[Table, ...]:
    """The course of each training, one row an epoch."""
    return tuple(_course(item) for item in summary.qat)


def _course(item: QatSummary) -> Table:
    classifies = item.task == "classify"
    rows = []
    for point in item.curve:
        kept = point.epoch == item.best_epoch
        score = format_share(point.score) if classifies else f"{point.score:.2f} dB"
        name = "0 (PTQ)" if point.epoch == 0 else str(point.epoch)
        rows.append(
            (
                *texts(name, "–" if point.loss is None else f"{point.loss:.4f}"),
                Cell(score, tone="strong" if kept else "plain"),
                *texts(
                    f"{point.held_out_loss:.4f}", "–" if point.lr is None else f"{point.lr:.2e}"
                ),
                Cell("kept" if kept else "", tone="good" if kept else "plain"),
            )
        )
    measure = "Accuracy" if classifies else "Signal to quantization noise"
    columns = (
        Column("Epoch", figures=True),
        Column("Loss", figures=True),
        Column(f"{measure}, samples kept back", figures=True),
        Column("Loss, samples kept back", figures=True),
        Column("Learning rate", figures=True),
        Column("Best"),
    )
    return Table(columns, tuple(rows), caption=_conditions(item), title=item.scheme)


def _conditions(item: QatSummary) -> str:
    text = (
        f"Trained with {item.samples:,} samples of {item.dataset} (task {item.task}, optimizer "
        f"{item.optimizer}, batch {item.batch_size}); {item.held_out:,} others of it, drawn with "
        f"seed {item.seed}, were kept back to compare epochs on."
    )
    if item.teacher_score is not None:
        text += f" The float graph is right on {format_share(item.teacher_score)} of those."
    if not item.best_epoch:
        text += " No epoch did better than the graph before training, which is kept."
    return text
