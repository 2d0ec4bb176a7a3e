"""Accuracy against latency and size, with what nothing else is better than in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgekit.report.charts.chart import (
    INK,
    MUTED,
    SERIES,
    SHAPES,
    Chart,
    Row,
    Spec,
    drawing,
    tips,
)
from edgekit.report.trade_off import Point, front

_HEIGHT = 300
_SHOWN_DROP = 0.1
"""Points that are less accurate than the best by more are left out: they would press all others
into a line."""
_SHORT = 12
"""Longest name of which three stand side by side on a phone."""
_TITLES = {"latency_ms": "p50 latency in ms", "size_kib": "Size of the file in KiB"}

Cost = Literal["latency_ms", "size_kib"]


def pareto_charts(points: Sequence[Point], name: str = "trade-off") -> tuple[Chart, ...]:
    """A chart for each cost that at least two points have."""
    made = []
    for cost in ("latency_ms", "size_kib"):
        priced = [point for point in points if point.cost(cost) is not None]
        best = max((point.accuracy for point in priced), default=0.0)
        shown = [point for point in priced if point.accuracy >= best - _SHOWN_DROP]
        if len(shown) > 1:
            left_out = [point.name for point in priced if point not in shown]
            made.append(_chart(shown, left_out, cost, f"{name}-{cost.partition('_')[0]}"))
    return tuple(made)


def _chart(points: Sequence[Point], left_out: Sequence[str], cost: Cost, name: str) -> Chart:
    best = front(points, cost)
    rows: list[Row] = [
        {
            "name": point.name,
            "group": point.group,
            "form": point.form,
            "accuracy": round(100 * point.accuracy, 4),
            "latency_ms": point.latency_ms,
            "size_kib": point.size_kib,
            "device": point.device,
            "dataset": point.dataset,
            "front": point in best,
        }
        for point in points
    ]
    title = _TITLES[cost]
    told = "; ".join(f"{p.name} {100 * p.accuracy:.2f} %, {p.cost(cost):.3g}" for p in best)
    return Chart(
        name=name,
        title=f"Accuracy against {title[0].lower()}{title[1:]}",
        description=f"Accuracy against {title}. Nothing is better in both than: {told}.",
        spec=drawing(rows, _layers(rows, cost, title), _HEIGHT),
        wide=False,
        note=_left_out(left_out),
    )


def _left_out(names: Sequence[str]) -> str:
    if not names:
        return ""
    points = f"{100 * _SHOWN_DROP:.0f} points"
    return f"Not drawn, more than {points} less accurate than the best: {', '.join(names)}."


def _layers(rows: Sequence[Row], cost: Cost, title: str) -> list[Spec]:
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    forms = list(dict.fromkeys(row["form"] for row in rows))
    x: Spec = {
        "field": cost,
        "type": "quantitative",
        "scale": {"zero": cost == "size_kib", "nice": True, "padding": 14},
        "axis": {"tickCount": 5},
        "title": title,
    }
    y: Spec = {
        "field": "accuracy",
        "type": "quantitative",
        "scale": {"zero": False, "padding": 14},
        "axis": {"tickCount": 6},
        "title": "Top-1 in %",
    }
    return [
        {
            "mark": {
                "type": "line",
                "interpolate": "step-after",
                "stroke": MUTED,
                "strokeDash": [4, 3],
            },
            "transform": [{"filter": "datum.front"}],
            "encoding": {"x": x, "y": y, "detail": [{"field": "device"}, {"field": "dataset"}]},
        },
        {
            "mark": {"type": "point", "size": 110, "filled": True, "strokeWidth": 2},
            "encoding": {
                "x": x,
                "y": y,
                "color": {
                    "field": "group",
                    "scale": {
                        "domain": groups,
                        "range": [SERIES[i % len(SERIES)] for i in range(len(groups))],
                    },
                    "legend": {"columns": 3 if max(map(len, groups)) <= _SHORT else 1},
                },
                "shape": {
                    "field": "form",
                    "scale": {
                        "domain": forms,
                        "range": [SHAPES[i % len(SHAPES)] for i in range(len(forms))],
                    },
                    "legend": {"symbolFillColor": INK, "symbolStrokeColor": INK},
                },
                "opacity": {"condition": {"test": "datum.front", "value": 1}, "value": 0.55},
                "tooltip": tips(
                    name="Artifact",
                    accuracy="Top-1 [%]",
                    latency_ms="p50 [ms]",
                    size_kib="Size [KiB]",
                    device="Device",
                    dataset="Accuracy on",
                ),
            },
        },
    ]
