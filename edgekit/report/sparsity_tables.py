"""Single weights that became 0: how many of each layer, and what that gains on each target."""

from __future__ import annotations

from edgekit.core.pruning_summary import SparsifySummary
from edgekit.core.run_summary import RunSummary
from edgekit.report.figures import format_bytes, format_share
from edgekit.report.ledger_tables import statistics_line
from edgekit.report.tables import Column, Table, texts

_LAYERS = (
    Column("Layer"),
    Column("Zeros", figures=True),
    Column("Weights", figures=True),
    Column("Share", figures=True),
)


def sparsity_tables(summary: RunSummary) -> tuple[Table, ...]:
    """The zeros of every layer, what stays dense and why, and what the zeros gain."""
    tables: list[Table] = []
    for item in summary.sparsifying:
        rows = tuple(
            texts(
                layer.layer, f"{layer.zeros:,}", f"{layer.weights:,}",
                format_share(layer.zeros / layer.weights),
            )
            for layer in item.layers
        )  # fmt: skip
        caption = f"{sparsity_line(item)} {statistics_line(item)}".strip()
        tables.append(Table(_LAYERS, rows, caption=caption, title=item.step))
        if item.dense:
            reasons = tuple(texts(", ".join(layer.layers), layer.reason) for layer in item.dense)
            left = (Column("Layers"), Column("Why they stay dense"))
            tables.append(Table(left, reasons, title=f"{item.step}: left dense"))
        if item.gains:
            gains = tuple(texts(gain.target, gain.text) for gain in item.gains)
            columns = (Column("Target"), Column("What the zeros gain there (not measured)"))
            tables.append(Table(columns, gains, title=f"{item.step}: what it gains"))
    return tuple(tables)


def sparsity_line(item: SparsifySummary) -> str:
    """How many weights are 0, by what rule, and how much smaller a compressed download is."""
    if item.pattern:
        n, _, m = item.pattern.partition(":")
        rule = f"pattern {item.pattern}: {n} of each {m} along the input channels stay"
    else:
        where = "each layer" if item.scope == "layer" else "all layers together"
        rule = f"the smallest {format_share(item.sparsity or 0)} of {where}"
    before, after = map(format_bytes, item.compressed_bytes)
    return (
        f"{item.zeros:,} of {item.weights:,} weights of convolutions and linear layers "
        f"({format_share(item.zeros / item.weights)}) are 0 ({rule}). All float32 weights of the "
        f"graph, deflated: {before} before, {after} after."
    )
