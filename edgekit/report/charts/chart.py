"""What a chart is, and what all charts have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

type Spec = dict[str, Any]
"""A Vega-Lite specification, or a part of one."""

type Row = Mapping[str, str | float | int | bool | None]
"""One data point."""

INK, MUTED, LINE, PAPER = "var(--ink)", "var(--muted)", "var(--line)", "var(--paper)"
ACCENT, GOOD, WARN = "var(--accent)", "var(--good)", "var(--warn)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))
"""Colours are properties of the page, so that one drawing serves light and dark."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
MAX_ROWS = 40
"""Layers or tensors that a chart names; the table has all."""
ROW_HEIGHT = 18

_TEXT: Spec = {"labelColor": MUTED, "titleColor": MUTED, "labelFontSize": 12, "titleFontSize": 12}
CONFIG: Spec = {
    "background": None,
    "font": 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif',
    "view": {"stroke": None},
    "axis": {
        **_TEXT,
        "titleFontWeight": "normal",
        "gridColor": LINE,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelLimit": 130,
    },
    "legend": {
        **_TEXT,
        "title": None,
        "orient": "top",
        "symbolStrokeWidth": 2,
        "labelLimit": 260,
        "columns": 3,
        "symbolOpacity": 1,
        "layout": {"top": {"direction": "vertical", "anchor": "start"}},
    },
    "text": {"fill": INK, "fontSize": 12},
    "rule": {"stroke": MUTED},
}


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing.

    Attributes:
        name: Identifier within the page, of letters, digits and dashes.
        title: What stands above it.
        description: What it shows in one or two sentences, for those who do not see it; the
            figures themselves stand in the tables below.
        spec: How it is drawn.
        wide: Whether it takes the whole width of the page.
        note: What stands below it; may be empty.
    """

    name: str
    title: str
    description: str
    spec: Spec
    wide: bool = True
    note: str = ""


def drawing(rows: Sequence[Row], layers: Sequence[Spec], height: int, **more: Any) -> Spec:
    """A specification of layers over the same data, as wide as its place in the page.

    Args:
        rows: The data.
        layers: Marks with their encodings.
        height: Of what lies within the axes, in pixels.
        **more: Other members of the specification.
    """
    return {
        "config": CONFIG,
        "width": "container",
        "height": height,
        "data": {"values": [dict(row) for row in rows]},
        "layer": list(layers),
        **more,
    }


def padded(values: Sequence[float], least: float, bounds: tuple[float, float]) -> list[float]:
    """A domain around ``values`` with room at both ends.

    Args:
        values: What has to fit in, at least one.
        least: Smallest width of the domain.
        bounds: What it never exceeds.
    """
    low, high = min(values), max(values)
    room = max(0.06 * (high - low), (least - (high - low)) / 2)
    return [max(bounds[0], low - room), min(bounds[1], high + room)]


def tips(**titles: str) -> list[Spec]:
    """What is shown beside the pointer: titles by field."""
    return [{"field": field, "title": title} for field, title in titles.items()]
