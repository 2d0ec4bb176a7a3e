"""Tables of how graphs were quantized, and of how exactly artifacts are those graphs."""

from __future__ import annotations

from edgekit.core.exactness import ExactnessReport, steps_in_words
from edgekit.core.metrics import Unavailable
from edgekit.core.run_summary import QuantizationSummary, RunSummary
from edgekit.report.figures import format_points, format_share
from edgekit.report.measurement_tables import label_of
from edgekit.report.tables import Cell, Column, Table, not_measured, texts

_SHOWN_LAYERS = 25
_SHOWN_TENSORS = 10


def quantization_tables(summary: RunSummary) -> tuple[Table, ...]:
    """What was tried, and which layers suffer."""
    tables: list[Table] = []
    for item in summary.quantization:
        made = (_trials(item), _effects(item))
        tables += [table for table in made if table.rows]
    return tuple(tables)


def exactness_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Each quantized artifact against its QDQ graph."""
    rows: list[tuple[Cell, ...]] = []
    for result in summary.targets:
        report = result.exactness
        if report is None:
            continue
        if isinstance(report, Unavailable):
            rows.append((Cell(label_of(result)), not_measured(report, span=6)))
            continue
        rows.append((Cell(label_of(result)), *_exactness_cells(report)))
    if not rows:
        return ()
    names = (
        "Tensors compared", "Tensors that differ", "Largest operator difference",
        "Float operators", "Custom operators", "Same result end to end",
    )  # fmt: skip
    columns = (Column("Artifact"), *(Column(name, figures=True) for name in names))
    caption = (
        "Weights, biases, scales and zero points against those of the QDQ graph; each operator on "
        "the graph's own integers, in steps (LSB) of its output. Where weights alone are "
        "integers, each layer on the graph's own activations, as a share of what rounding "
        "explains at most."
    )
    return (Table(columns, tuple(rows), caption=caption), *_forced_tables(summary))


def _exactness_cells(report: ExactnessReport) -> tuple[Cell, ...]:
    agreement = "not measured"
    if report.agreement is not None:
        agreement = f"{format_share(report.agreement)} of {report.samples} samples"
    return (
        Cell(str(report.compared_tensors)),
        Cell(str(report.differing_tensors), tone="warn" if report.differing_tensors else "good"),
        Cell(_largest_difference(report)),
        _float_cell(report),
        Cell(str(len(report.custom_ops)), tone="warn" if report.custom_ops else "good"),
        Cell(agreement),
    )


def _largest_difference(report: ExactnessReport) -> str:
    if report.max_rounded is not None:
        return f"{format_share(report.max_rounded)} of rounding"
    return "not measured" if report.max_lsb is None else f"{report.max_lsb} LSB"


def _float_cell(report: ExactnessReport) -> Cell:
    """Float operators, which are as they should be where weights alone are integers."""
    count = str(len(report.float_ops))
    if report.weights_only:
        return Cell("all", detail="weights alone are integers")
    return Cell(count, tone="warn" if report.float_ops else "good")


def _forced_tables(summary: RunSummary) -> list[Table]:
    tables = []
    for result in summary.targets:
        report = result.exactness
        if not isinstance(report, ExactnessReport):
            continue
        shown = [item for item in report.forced if item.lsb][:_SHOWN_TENSORS]
        if not shown:
            continue
        columns = (
            Column("Tensor"),
            Column("Operators"),
            Column("Difference", figures=True),
            Column("Elements that differ", figures=True),
        )
        rows = tuple(
            texts(
                item.tensor,
                " + ".join(item.operators),
                steps_in_words(item.lsb, item.bits),
                format_share(item.share),
            )
            for item in shown
        )
        title = f"{label_of(result)}: operators that differ most"
        tables.append(Table(columns, rows, title=title))
    return tables


def _trials(item: QuantizationSummary) -> Table:
    columns = (
        Column("Tried"),
        Column("Signal to noise", figures=True),
        Column("Top-1", figures=True),
        Column("Points to float", figures=True),
        Column("Chosen"),
    )
    rows = []
    for trial in item.trials:
        accuracy, points = "not measured", "–"
        if trial.metric is not None:
            accuracy = format_share(trial.metric)
            if item.float_accuracy is not None:
                points = format_points(trial.metric - item.float_accuracy)
        sqnr = "not measured" if trial.sqnr_db is None else f"{trial.sqnr_db:.1f} dB"
        chosen = Cell("chosen" if trial.chosen else "", tone="good" if trial.chosen else "plain")
        rows.append((*texts(trial.name, sqnr, accuracy, points), chosen))
    return Table(columns, tuple(rows), caption=_conditions(item), title=f"{item.scheme}: tried")


def _conditions(item: QuantizationSummary) -> str:
    if not item.dataset:
        return "Weights alone are quantized; no data was needed."
    parts = [f"Calibrated with {item.samples} samples of {item.dataset}."]
    if item.float_accuracy is not None:
        parts.append(
            f"Accuracy on {item.accuracy_samples} others of its samples, where the float graph "
            f"has {format_share(item.float_accuracy)}; of those within the standard error of the "
            "best, the one with the highest signal-to-noise ratio is chosen."
        )
    if item.fallback_layers:
        kept = "float32" if item.fallback == "float" else "16-bit activations"
        parts.append(f"Left in {kept} to keep the accuracy: {', '.join(item.fallback_layers)}.")
    return " ".join(parts)


def _effects(item: QuantizationSummary) -> Table:
    columns = (
        Column("Layer"),
        Column("Operator"),
        Column("Signal to noise", figures=True),
        Column("Top-1", figures=True),
    )
    rows = tuple(
        texts(
            effect.layer,
            effect.op_type,
            f"{effect.sqnr_db:.1f} dB",
            "not measured" if effect.metric is None else format_share(effect.metric),
        )
        for effect in item.sensitivity[:_SHOWN_LAYERS]
    )
    caption = "Each layer quantized alone, the rest in float; the most sensitive first."
    if len(item.sensitivity) > _SHOWN_LAYERS:
        caption += f" {_SHOWN_LAYERS} of {len(item.sensitivity)} are shown."
    return Table(columns, rows, caption=caption, title=f"{item.scheme}: sensitivity")
