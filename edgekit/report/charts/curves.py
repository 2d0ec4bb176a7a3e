"""Training curves: loss and accuracy by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.core.run_summary import QatSummary, TrainingSummary
from edgekit.report.charts.chart import MUTED, SERIES, Chart, Row, Spec, drawing, padded, tips

_HEIGHT = 200
_COLOURS = {"training": SERIES[0], "validation": SERIES[1], "kept back": SERIES[1]}
"""By series, the same in every chart: samples not trained with have one colour."""

type Curve = Sequence[tuple[int, float | None]]


def training_charts(trainings: Sequence[TrainingSummary]) -> tuple[Chart, ...]:
    """Loss and accuracy of each training, where it has them."""
    made = []
    for item in trainings:
        loss: dict[str, Curve] = {
            "training": [(point.epoch, point.loss) for point in item.curve],
            "validation": [(point.epoch, point.val_loss) for point in item.curve],
        }
        accuracy: dict[str, Curve] = {
            "training": [(p.epoch, _percent(p.train_accuracy)) for p in item.curve],
            "validation": [(p.epoch, _percent(p.val_accuracy)) for p in item.curve],
        }
        made += [
            _chart(f"{item.step}-loss", f"{item.step}: loss", loss),
            _chart(f"{item.step}-accuracy", f"{item.step}: accuracy in %", accuracy),
        ]
    return tuple(chart for chart in made if chart is not None)


def qat_charts(trainings: Sequence[QatSummary]) -> tuple[Chart, ...]:
    """Loss and score of each quantization-aware training, from the state before it."""
    made = []
    for item in trainings:
        loss: dict[str, Curve] = {
            "training": [(point.epoch, point.loss) for point in item.curve],
            "kept back": [(point.epoch, point.held_out_loss) for point in item.curve],
        }
        classifies = item.task == "classify"
        scores = [(p.epoch, _percent(p.score) if classifies else p.score) for p in item.curve]
        what = "accuracy in %" if classifies else "signal to noise in dB"
        goal = _percent(item.teacher_score) if classifies else None
        made += [
            _chart(f"qat-{item.scheme}-loss", f"{item.scheme}: loss", loss),
            _chart(
                f"qat-{item.scheme}-score", f"{item.scheme}: {what}", {"kept back": scores}, goal
            ),
        ]
    return tuple(chart for chart in made if chart is not None)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _chart(
    name: str, title: str, series: Mapping[str, Curve], goal: float | None = None
) -> Chart | None:
    """Lines by epoch; a dashed one at ``goal``, the float model's. None without points."""
    rows: list[Row] = [
        {"epoch": epoch, "value": value, "series": label}
        for label, curve in series.items()
        for epoch, value in curve
        if value is not None
    ]
    if not rows:
        return None
    present = [label for label in series if any(row["series"] == label for row in rows)]
    told = "; ".join(
        f"{label} from {found[0]['value']:.4g} to {found[-1]['value']:.4g}"
        for label in present
        if (found := [row for row in rows if row["series"] == label])
    )
    in_percent = title.endswith("%")
    y = _y_axis([*rows, {"value": goal}] if goal is not None else rows, in_percent=in_percent)
    layers = [_lines(y, present)]
    if goal is not None:
        layers.append(
            {
                "mark": {"type": "rule", "stroke": MUTED, "strokeDash": [4, 3]},
                "data": {"values": [{"value": goal, "name": "float graph"}]},
                "encoding": {"y": y, "tooltip": tips(name="", value="Value")},
            }
        )
        told += f"; the float graph has {goal:.4g}, dashed"
    return Chart(
        name, title, f"{title} by epoch: {told}.", drawing(rows, layers, _HEIGHT), wide=False
    )


def _y_axis(rows: Sequence[Row], *, in_percent: bool) -> Spec:
    scale: Spec = {"zero": False}
    if in_percent:
        scale["domain"] = padded([float(row["value"] or 0) for row in rows], 2, (0, 100))
    return {
        "field": "value", "type": "quantitative", "title": None, "axis": {"tickCount": 5},
        "scale": scale,
    }  # fmt: skip


def _lines(y: Spec, present: Sequence[str]) -> Spec:
    x: Spec = {
        "field": "epoch",
        "type": "quantitative",
        "axis": {"tickMinStep": 1, "format": "d", "grid": False, "tickCount": 8},
        "scale": {"zero": False, "nice": False},
        "title": "Epoch",
    }
    colour: Spec = {
        "field": "series",
        "scale": {"domain": list(present), "range": [_COLOURS[label] for label in present]},
    }
    return {
        "mark": {
            "type": "line",
            "strokeWidth": 2,
            "point": {"filled": True, "size": 26},
            "interpolate": "linear",
        },
        "encoding": {
            "x": x,
            "y": y,
            "color": colour,
            "tooltip": tips(series="Series", epoch="Epoch", value="Value"),
        },
    }
