"""Tables of quantization-aware training: its course."""

from __future__ import annotations

from edgekit.core.run_summary import QatSummary, RunSummary
from edgekit.report.figures import format_share
from edgekit.report.tables import Cell, Column, Table, texts


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
