"""Errors of layers and calibrated ranges: one row a tensor, in the graph's order."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.run_evidence import CalibratedRange, LayerErrorPoint, LayerErrorSummary
from edgekit.core.run_summary import QuantizationSummary
from edgekit.report.charts.chart import (
    INK,
    MAX_ROWS,
    ROW_HEIGHT,
    SERIES,
    WARN,
    Chart,
    Row,
    Spec,
    drawing,
    tips,
)

_OWN, _ALL, _OUT = "own error", "all errors so far", "own error out of line"


def layer_error_charts(errors: Sequence[LayerErrorSummary]) -> tuple[Chart, ...]:
    """Signal to noise of each tensor, its operator's own and what has come together there."""
    return tuple(chart for item in errors if (chart := _layer_errors(item)) is not None)


def range_charts(summaries: Sequence[QuantizationSummary]) -> tuple[Chart, ...]:
    """What the integers of each tensor express, and what was seen of it while calibrating."""
    return tuple(_ranges(item) for item in summaries if item.ranges)


def _layer_errors(item: LayerErrorSummary) -> Chart | None:
    layers = [layer for layer in item.layers if layer.cumulative_db is not None]
    if not layers:
        return None
    worst = sorted(layers, key=lambda layer: (layer.own_db is None, layer.own_db))[:MAX_ROWS]
    shown = [layer for layer in layers if layer in worst]
    rows: list[Row] = []
    for layer in shown:
        facts = {
            "tensor": layer.tensor,
            "label": _label(layer),
            "operators": " + ".join(layer.operators),
            "dtype": layer.dtype,
        }
        rows.append({**facts, "kind": _ALL, "db": layer.cumulative_db})
        if layer.own_db is not None:
            kind = _OUT if layer.out_of_line else _OWN
            rows.append({**facts, "kind": kind, "db": layer.own_db})
    title = f"{item.scheme}: signal to quantization noise by layer, in dB (higher is better)"
    least = min(
        (layer for layer in shown if layer.own_db is not None),
        key=lambda layer: layer.own_db or 0.0,
        default=None,
    )
    told = f"{len(shown)} of {len(item.layers)} tensors in order of execution. {item.verdict}"
    if least is not None:
        told += f" The lowest own ratio is {least.own_db:.1f} dB at {least.tensor}."
    kinds = [_OWN, _ALL, *([_OUT] if any(layer.out_of_line for layer in shown) else [])]
    marks = _error_marks([_label(layer) for layer in shown], kinds)
    spec = drawing(rows, marks, ROW_HEIGHT * len(shown))
    return Chart(f"layer-errors-{item.scheme}", title, told, spec)


def _label(layer: LayerErrorPoint) -> str:
    """Its operator and its tensor: names of tensors alone say little."""
    operators = [name for name in layer.operators if name != "QuantizeLinear"]
    return f"{operators[0]} {layer.tensor}" if operators else layer.tensor


def _error_marks(order: list[str], kinds: list[str]) -> list[Spec]:
    y = _rows_axis(order, "label")
    x: Spec = {
        "field": "db",
        "type": "quantitative",
        "title": "dB",
        "scale": {"zero": False, "nice": True},
    }
    colour: Spec = {
        "field": "kind",
        "scale": {"domain": kinds, "range": [SERIES[0], SERIES[1], WARN][: len(kinds)]},
    }
    tip = tips(tensor="Tensor", operators="Operators", dtype="Stored as", kind="Of", db="dB")
    return [
        {
            "mark": {"type": "line", "strokeWidth": 1.5, "opacity": 0.6},
            "transform": [{"filter": f"datum.kind === '{_ALL}'"}],
            "encoding": {"y": y, "x": x, "color": colour, "order": {"value": 0}},
        },
        {
            "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
            "encoding": {"y": y, "x": x, "color": colour, "tooltip": tip},
        },
    ]


def _ranges(item: QuantizationSummary) -> Chart:
    widest = sorted(item.ranges, key=lambda entry: entry.low - entry.high)[:MAX_ROWS]
    shown = [entry for entry in item.ranges if entry in widest]
    rows: list[Row] = [
        {
            "tensor": entry.tensor,
            "low": entry.low,
            "high": entry.high,
            "seen_low": entry.seen_low,
            "seen_high": entry.seen_high,
            "scale": entry.scale,
            "zero_point": entry.zero_point,
            "clips": clips(entry),
        }
        for entry in shown
    ]
    clipped = [entry.tensor for entry in item.ranges if clips(entry)]
    told = f"{len(shown)} of {len(item.ranges)} activation ranges. " + (
        f"{len(clipped)} cut off values that were seen: {', '.join(clipped[:5])}."
        if clipped
        else "None cuts off a value that was seen."
    )
    title = f"{item.scheme}: activation ranges after calibration"
    order = [entry.tensor for entry in shown]
    spec = drawing(rows, _range_marks(order), ROW_HEIGHT * len(order))
    return Chart(f"ranges-{item.scheme}", title, told, spec)


def clips(entry: CalibratedRange) -> bool:
    """Whether values were seen that the integers do not express, by more than half a step."""
    if entry.seen_low is None or entry.seen_high is None:
        return False
    room = entry.scale / 2
    return entry.seen_low < entry.low - room or entry.seen_high > entry.high + room


def _range_marks(order: list[str]) -> list[Spec]:
    y = _rows_axis(order)
    x: Spec = {"field": "low", "type": "quantitative", "title": "Value"}
    seen = {**x, "field": "seen_low"}
    names = ["expressed by the integers", "seen in the calibration data", "seen, but cut off"]
    colour: Spec = {
        "scale": {"domain": names, "range": [SERIES[0], INK, WARN]},
        "legend": {"columns": 1},  # side by side they do not fit a phone
    }
    end: Spec = {"condition": {"test": "datum.clips", "value": WARN}, "value": INK}
    tip = tips(
        tensor="Tensor", low="Lowest", high="Highest", seen_low="Lowest seen",
        seen_high="Highest seen", scale="Scale", zero_point="Zero point",
    )  # fmt: skip
    known: Spec = {"filter": "datum.seen_low !== null"}
    ends: list[Spec] = [
        {
            "mark": {"type": "tick", "thickness": 2, "size": 12},
            "transform": [known],
            "encoding": {
                "y": y, "x": {**x, "field": field},
                "color": end,
            },
        }
        for field in ("seen_low", "seen_high")
    ]  # fmt: skip
    return [
        {
            "mark": {"type": "bar", "height": 10, "opacity": 0.55, "cornerRadius": 2},
            "encoding": {
                "y": y, "x": x, "x2": {"field": "high"},
                "color": {**colour, "datum": names[0]}, "tooltip": tip,
            },
        },
        {
            "mark": {"type": "rule", "strokeWidth": 2},
            "transform": [known],
            "encoding": {
                "y": y, "x": seen, "x2": {"field": "seen_high"},
                "color": {**colour, "datum": names[1]}, "tooltip": tip,
            },
        },
        *ends,
    ]  # fmt: skip


def _rows_axis(order: list[str], field: str = "tensor") -> Spec:
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": order},
        "title": None,
        "axis": {"grid": True, "ticks": False, "domain": False, "labelPadding": 6},
    }
