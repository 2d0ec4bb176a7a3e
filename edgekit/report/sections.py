"""The parts of the report below its summary, each with a heading."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.run_summary import RunSummary
from edgekit.report.evidence_tables import (
    float_tables,
    layer_error_tables,
    prediction_tables,
    range_tables,
)
from edgekit.report.ledger_tables import ledger_tables, pruning_tables
from edgekit.report.measurement_tables import accuracy_tables, difference_tables, latency_tables
from edgekit.report.model_tables import (
    detail_tables,
    model_tables,
    operator_tables,
    training_tables,
)
from edgekit.report.qat_tables import qat_tables
from edgekit.report.quantization_tables import exactness_tables, quantization_tables
from edgekit.report.run_tables import environment_tables, note_tables, provenance_tables
from edgekit.report.sparsity_tables import sparsity_tables
from edgekit.report.tables import Table
from edgekit.report.trade_off import points_of, trade_off_tables


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its tables.

    Attributes:
        anchor: Identifier in the page.
        title: The heading.
        tables: What stands below it, at least one table.
        folded: What the page shows in place of long tables until asked; empty shows them.
    """

    anchor: str
    title: str
    tables: tuple[Table, ...]
    folded: str = ""


def all_sections(summary: RunSummary) -> tuple[Section, ...]:
    """Every section that has something to say, in the order of the report."""
    made = (
        Section("ledger", "Ledger", ledger_tables(summary)),
        Section("trade-off", "Trade-off", trade_off_tables(points_of(summary)), "Every point"),
        Section("accuracy", "Accuracy", accuracy_tables(summary)),
        Section(
            "predictions",
            "Confusions and changed samples",
            prediction_tables(summary),
            "Confusions and changed samples as tables",
        ),
        Section("latency", "Latency", latency_tables(summary)),
        Section("difference", "Difference to ONNX Runtime", difference_tables(summary)),
        Section("exactness", "Exactness", exactness_tables(summary)),
        Section("layer-errors", "Errors of layers", layer_error_tables(summary), "Every tensor"),
        Section("float", "What computes in float", float_tables(summary)),
        Section("operators", "Operators", operator_tables(summary), "Operators by type"),
        Section("pruning", "Pruning", pruning_tables(summary), "Channels of every layer"),
        Section("sparsity", "Sparsity", sparsity_tables(summary), "Zeros of every layer"),
        Section("quantization", "Quantization", quantization_tables(summary)),
        Section("ranges", "Calibrated ranges", range_tables(summary), "Every range"),
        Section("qat", "Quantization-aware training", qat_tables(summary), "Every epoch"),
        Section("training", "Training", training_tables(summary), "Every epoch"),
        Section("model", "Model", model_tables(summary)),
        Section("files", "Files", detail_tables(summary), "What the inspection found"),
        Section("notes", "Notes", note_tables(summary)),
        Section("environment", "Environment", environment_tables(summary)),
        Section(
            "provenance", "Provenance", provenance_tables(summary), "Digests, steps, durations"
        ),
    )
    return tuple(section for section in made if section.tables)
