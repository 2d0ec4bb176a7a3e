"""Confusion matrices as tiles."""

from __future__ import annotations

from edgekit.core.run_evidence import ConfusionMatrix, PredictionSummary
from edgekit.report.charts.chart import GOOD, INK, WARN, Chart, Row, Spec, drawing, tips

_MAX_MATRICES = 4
_NUMBERED = 12
"""Up to so many classes a tile has room for its number."""
_TILE = 28


def confusion_charts(predictions: PredictionSummary | None) -> tuple[Chart, ...]:
    """One chart a matrix; where there are more than four, the first and the last ones."""
    if predictions is None:
        return ()
    chosen = list(predictions.matrices)
    if len(chosen) > _MAX_MATRICES:
        chosen = [chosen[0], *chosen[1 - _MAX_MATRICES :]]
    return tuple(
        _chart(predictions, matrix, f"confusion-{number}") for number, matrix in enumerate(chosen)
    )


def _chart(predictions: PredictionSummary, matrix: ConfusionMatrix, name: str) -> Chart:
    totals: dict[int, int] = {}
    for entry in matrix.entries:
        totals[entry.target] = totals.get(entry.target, 0) + entry.count
    rows: list[Row] = [
        {
            "target": _named(predictions, entry.target),
            "predicted": _named(predictions, entry.predicted),
            "count": entry.count,
            "share": entry.count / totals[entry.target],
            "right": entry.target == entry.predicted,
        }
        for entry in matrix.entries
    ]
    order = [_named(predictions, index) for index in predictions.shown_classes]
    wrong = predictions.samples - matrix.right
    told = f"{wrong} of {predictions.samples} samples are wrong"
    most = max(
        (entry for entry in matrix.entries if entry.target != entry.predicted),
        key=lambda entry: entry.count,
        default=None,
    )
    if most is not None:
        told += (
            f"; most often {predictions.label(most.target)} is taken for "
            f"{predictions.label(most.predicted)}, {most.count} times"
        )
    title = ", ".join(matrix.models)
    spec = drawing(rows, _marks(order), _TILE * len(order))
    return Chart(name, title, f"Confusion matrix of {title}: {told}.", spec, wide=False)


def _named(predictions: PredictionSummary, index: int) -> str:
    """Label of a class, with its number where two have the same."""
    label = predictions.label(index)
    return label if predictions.labels.count(label) < 2 else f"{label} ({index})"


def _marks(order: list[str]) -> list[Spec]:
    numbered = len(order) <= _NUMBERED
    plain: Spec = {"ticks": False, "domain": False, "labelLimit": 80}
    angle = 0 if max(map(len, order), default=0) <= 2 else -45
    y: Spec = {
        "field": "target", "type": "nominal", "title": "True class", "axis": plain,
        "scale": {"domain": order},
    }  # fmt: skip
    x: Spec = {
        "field": "predicted", "type": "nominal", "title": "Predicted",
        "axis": {**plain, "labelAngle": angle, "orient": "bottom"}, "scale": {"domain": order},
    }  # fmt: skip
    tiles: Spec = {
        "mark": {"type": "rect", "cornerRadius": 2},
        "encoding": {
            "x": x,
            "y": y,
            "color": {"condition": {"test": "datum.right", "value": GOOD}, "value": WARN},
            "opacity": {
                "field": "share",
                "type": "quantitative",
                "scale": {"type": "sqrt", "domain": [0, 1], "range": [0.12, 0.75]},
                "legend": None,
            },
            "tooltip": tips(
                target="True class", predicted="Predicted", count="Samples", share="Share of row"
            ),
        },
    }
    text: Spec = {
        "mark": {"type": "text", "fill": INK, "fontSize": 11},
        "encoding": {"x": x, "y": y, "text": {"field": "count"}},
    }
    return [tiles, text] if numbered else [tiles]
