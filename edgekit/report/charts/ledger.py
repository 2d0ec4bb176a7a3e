"""The ledger as a waterfall: accuracy from stage to stage."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.metrics import AccuracyReport
from edgekit.core.run_summary import LedgerRow
from edgekit.report.charts.chart import (
    ACCENT,
    GOOD,
    INK,
    MUTED,
    WARN,
    Chart,
    Row,
    Spec,
    drawing,
    padded,
    tips,
)
from edgekit.report.figures import format_points

_STEP = 40


def ledger_chart(ledger: Sequence[LedgerRow], name: str = "ledger") -> Chart | None:
    """Bars from the accuracy of the stage before to that of each stage.

    None unless at least two stages were evaluated.
    """
    rows = _rows(ledger)
    if len(rows) < 2:
        return None
    domain = padded([float(row[key] or 0) for row in rows for key in ("low", "high")], 2, (0, 100))
    told = ", ".join(f"{row['label']} {row['accuracy']:.2f} %" for row in rows)
    return Chart(
        name=name,
        title="Top-1 accuracy from stage to stage, in %",
        description=f"Waterfall of the top-1 accuracy: {told}.",
        spec=drawing(
            rows, _layers([str(row["label"]) for row in rows], domain), _STEP * len(rows)
        ),
    )


def _rows(ledger: Sequence[LedgerRow]) -> list[Row]:
    known = {row.step: _label(row, ledger) for row in ledger if row.step}
    rows: list[Row] = []
    for row in ledger:
        if not isinstance(row.accuracy, AccuracyReport):
            continue
        top1, before = row.accuracy.top1, None
        if row.paired is not None:
            before = 100 * (top1.value - row.paired.difference)
        points = "" if row.paired is None else format_points(row.paired.difference)
        change = "first"
        if before is not None:
            change = "gained" if 100 * top1.value >= before else "lost"
        rows.append(
            {
                "label": _label(row, ledger),
                "parent": known.get(row.parent, ""),
                "accuracy": 100 * top1.value,
                "low": 100 * top1.low,
                "high": 100 * top1.high,
                "before": before,
                "points": points,
                "change": change,
                "text": f"{100 * top1.value:.2f}" + (f" ({points})" if points else ""),
            }
        )
    return rows


def _label(row: LedgerRow, ledger: Sequence[LedgerRow]) -> str:
    """Stage and form, and the step where a stage of that name was run twice."""
    alike = [item for item in ledger if (item.stage, item.form) == (row.stage, row.form)]
    return f"{row.stage} {row.form}" + (f" ({row.step})" if len(alike) > 1 else "")


def _layers(order: list[str], domain: list[float]) -> list[Spec]:
    row: Spec = {"field": "label", "type": "nominal", "scale": {"domain": order}, "title": None}
    scale: Spec = {"domain": domain, "nice": False}
    value: Spec = {
        "field": "accuracy",
        "type": "quantitative",
        "scale": scale,
        "title": None,
        "axis": {"tickCount": 6},
    }
    return [*_steps(row, value), *_figures(row, value, domain)]


def _steps(row: Spec, value: Spec) -> list[Spec]:
    """From each stage to the next, and by how much it changed."""
    return [
        {
            "mark": {"type": "rule", "strokeDash": [2, 3], "stroke": MUTED},
            "transform": [{"filter": "datum.before !== null && datum.parent !== ''"}],
            "encoding": {
                "y": {**row, "field": "parent"},
                "y2": {"field": "label"},
                "x": {**value, "field": "before"},
            },
        },
        {
            "mark": {"type": "bar", "height": 14, "cornerRadius": 2},
            "transform": [{"filter": "datum.before !== null"}],
            "encoding": {
                "y": row,
                "x": {**value, "field": "before"},
                "x2": {"field": "accuracy"},
                "color": {
                    "field": "change",
                    "scale": {"domain": ["gained", "lost"], "range": [GOOD, WARN]},
                },
                "tooltip": tips(
                    label="Stage",
                    parent="Beside",
                    accuracy="Top-1 [%]",
                    points="Points",
                ),
            },
        },
    ]


def _figures(row: Spec, value: Spec, domain: list[float]) -> list[Spec]:
    """Each stage's accuracy with its interval, and as text on the side that has room."""
    toward_left = f"datum.accuracy > {domain[0] + 0.6 * (domain[1] - domain[0])}"
    text: Spec = {"y": row, "x": value, "text": {"field": "text"}}
    return [
        {
            "mark": {"type": "rule", "stroke": INK, "strokeOpacity": 0.6},
            "encoding": {"y": row, "x": {**value, "field": "low"}, "x2": {"field": "high"}},
        },
        {
            "mark": {"type": "tick", "thickness": 3, "size": 20, "color": ACCENT},
            "encoding": {
                "y": row,
                "x": value,
                "tooltip": tips(label="Stage", accuracy="Top-1 [%]", low="Low", high="High"),
            },
        },
        *(
            {
                "mark": {"type": "text", "align": align, "dx": shift, "dy": -14, "fill": INK},
                "transform": [{"filter": condition}],
                "encoding": text,
            }
            for align, shift, condition in (
                ("right", 4, toward_left),
                ("left", -4, f"!({toward_left})"),
            )
        ),
    ]
