"""Tables of predictions, errors of layers, calibrated ranges and operators left in float."""

from __future__ import annotations

from edgekit.core.exactness import ExactnessReport
from edgekit.core.metrics import Unavailable
from edgekit.core.run_evidence import CalibratedRange, LayerErrorPoint, LayerErrorSummary
from edgekit.core.run_summary import QuantizationSummary, RunSummary
from edgekit.report.measurement_tables import label_of
from edgekit.report.tables import Cell, Column, Table, not_measured, texts

_SHOWN_CONFUSIONS = 10
_SHOWN_NAMES = 8


def float_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Operators in float within integer artifacts, and nodes that no scheme quantized."""
    rows: list[tuple[Cell, ...]] = []
    for result in summary.targets:
        report = result.exactness
        if report is None:
            continue
        if isinstance(report, Unavailable):
            rows.append((Cell(label_of(result)), not_measured(report, span=3)))
        else:
            rows += _islands(label_of(result), report)
    columns = (
        Column("Artifact"),
        Column("In float", figures=True),
        Column("Operators"),
        Column("Reason"),
    )
    tables = [Table(columns, tuple(rows), title="Float islands in integer artifacts")]
    nodes = tuple(
        texts(item.scheme, node, reason)
        for item in summary.quantization
        for node, reason in item.float_nodes.items()
    )
    unquantized = (Column("Scheme"), Column("Node"), Column("Why it is not quantized"))
    tables.append(Table(unquantized, nodes, title="Nodes left in float"))
    return tuple(table for table in tables if table.rows)


def _islands(name: str, report: ExactnessReport) -> list[tuple[Cell, ...]]:
    if report.weights_only:
        return [(Cell(name), *texts("all", "–", "weights alone are integers, as asked for"))]
    if not report.float_ops:
        none = Cell("0", tone="good")
        return [(Cell(name), none, *texts("–", "every operator computes on integers"))]
    found: list[tuple[Cell, ...]] = [
        (Cell(name), Cell(str(len(names)), tone="warn"), Cell(_some(names)), Cell(reason))
        for reason, names in report.float_ops_by_reason().items()
    ]
    if report.hidden_float_ops:
        hidden = report.hidden_float_ops
        count = Cell(str(len(hidden)), tone="warn")
        found.append((Cell(name), count, *texts(_some(hidden), "no reason is known")))
    return found


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _SHOWN_NAMES
    return ", ".join(names[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def layer_error_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Every compared tensor, in order of execution."""
    return tuple(_layer_errors(item) for item in summary.layer_errors)


def _layer_errors(item: LayerErrorSummary) -> Table:
    columns = (
        Column("Tensor"),
        Column("Operators"),
        Column("Stored as"),
        Column("Own error", figures=True),
        Column("All errors so far", figures=True),
        Column("Largest difference", figures=True),
    )
    if item.reason:
        missing = not_measured(Unavailable(reason=item.reason), span=len(columns))
        return Table(columns, ((missing,),), title=item.scheme)
    caption = (
        f"{item.verdict} Signal to quantization noise beside the float graph on {item.samples} "
        f"samples of {item.dataset}, in {item.runtime}; own: of the operator alone, given the "
        "float graph's values."
    )
    if item.unmatched:
        reasons = dict.fromkeys(item.unmatched.values())
        caption += f" {len(item.unmatched)} tensors were not compared: {'; '.join(reasons)}."
    rows = tuple(_layer(layer) for layer in item.layers)
    return Table(columns, rows, caption=caption, title=f"{item.scheme} ({item.step})")


def _layer(layer: LayerErrorPoint) -> tuple[Cell, ...]:
    own = _db(layer.own_db)
    return (
        Cell(layer.tensor, detail=layer.layer),
        *texts(" + ".join(layer.operators), layer.dtype),
        Cell(f"{own}, out of line", tone="warn") if layer.out_of_line else Cell(own),
        *texts(_db(layer.cumulative_db), f"{layer.max_abs:.3g}"),
    )


def _db(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} dB"


def range_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Every calibrated range."""
    return tuple(_ranges(item) for item in summary.quantization if item.ranges)


def _ranges(item: QuantizationSummary) -> Table:
    columns = (
        Column("Tensor"),
        *(
            Column(name, figures=True)
            for name in (
                "Lowest", "Highest", "Lowest seen", "Highest seen", "Scale", "Zero point", "Bits",
            )
        ),
    )  # fmt: skip
    caption = (
        f"What the integers express, and what was seen in {item.samples} samples of "
        f"{item.dataset}; no value seen: the kernel prescribes the range. "
        "Fine-tuning may change scales afterwards."
    )
    rows = tuple(_range(entry) for entry in item.ranges)
    return Table(columns, rows, caption=caption, title=item.scheme)


def _range(entry: CalibratedRange) -> tuple[Cell, ...]:
    more = f"and {entry.tensors - 1} more with the same scale" if entry.tensors > 1 else ""
    seen = (
        "–" if value is None else f"{value:.4g}" for value in (entry.seen_low, entry.seen_high)
    )
    return (
        Cell(entry.tensor, detail=more),
        *texts(f"{entry.low:.4g}", f"{entry.high:.4g}", *seen),
        *texts(f"{entry.scale:.4g}", str(entry.zero_point), str(entry.bits)),
    )


def prediction_tables(summary: RunSummary) -> tuple[Table, ...]:
    """The most frequent confusions, and the samples that changed."""
    predictions = summary.predictions
    if predictions is None:
        return ()
    tables = []
    for matrix in predictions.matrices:
        wrong = [entry for entry in matrix.entries if entry.target != entry.predicted]
        wrong.sort(key=lambda entry: -entry.count)
        rows = tuple(
            texts(
                predictions.label(entry.target),
                predictions.label(entry.predicted),
                str(entry.count),
            )
            for entry in wrong[:_SHOWN_CONFUSIONS]
        )
        columns = (Column("True class"), Column("Taken for"), Column("Samples", figures=True))
        caption = (
            f"{matrix.right} of {predictions.samples} samples of {predictions.dataset} are right."
        )
        if len(predictions.shown_classes) < predictions.classes:
            shown, classes = len(predictions.shown_classes), predictions.classes
            caption += f" Of {classes} classes the {shown} with most errors are shown."
        title = f"Confusions: {', '.join(matrix.models)}"
        tables.append(Table(columns, rows, caption=caption, title=title))
    return (*tables, *_flip_tables(summary))


def _flip_tables(summary: RunSummary) -> list[Table]:
    predictions = summary.predictions
    assert predictions is not None
    tables = []
    for item in predictions.flips:
        rows = tuple(
            texts(
                str(flip.sample),
                *(predictions.label(index) for index in (flip.target, flip.before, flip.after)),
            )
            for flip in item.shown
        )
        columns = (
            Column("Sample", figures=True),
            Column("True class"),
            Column("Before"),
            Column("After"),
        )
        caption = (
            f"{item.changed} samples changed class: {item.gained} are right now, {item.lost} no "
            f"longer."
        )
        if len(rows) < item.changed:
            caption += f" {len(rows)} are shown."
        title = f"Changed samples: {item.before} to {', '.join(item.after)}"
        tables.append(Table(columns, rows, caption=caption, title=title))
    return tables
