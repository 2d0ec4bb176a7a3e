"""The training curve as points in a drawing, which the page's template turns into SVG."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.core.run_summary import QatSummary, TrainingSummary

WIDTH, HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 12, 30


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: its place in the drawing and its text."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One series.

    Attributes:
        name: Shown in the legend.
        role: ``"first"`` or ``"second"``; decides colour and dash.
        points: Places in the drawing, in order.
    """

    name: str
    role: str
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The points as SVG writes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing with its own vertical axis."""

    title: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def curve_panels(training: TrainingSummary) -> tuple[Panel, ...]:
    """Loss and accuracy by epoch; nothing when no epoch was trained."""
    curve = training.curve
    if not curve:
        return ()
    loss = {
        "training": [(point.epoch, point.loss) for point in curve],
        "validation": [
            (point.epoch, point.val_loss) for point in curve if point.val_loss is not None
        ],
    }
    accuracy = {
        "validation": [
            (point.epoch, point.val_accuracy) for point in curve if point.val_accuracy is not None
        ],
        "training": [
            (point.epoch, point.train_accuracy)
            for point in curve
            if point.train_accuracy is not None
        ],
    }
    epochs = (curve[0].epoch, curve[-1].epoch)
    return (
        _panel("Loss", epochs, loss, at_least=(0.0,)),
        _panel("Accuracy", epochs, accuracy, at_least=(1.0,)),
    )


def qat_panels(training: QatSummary) -> tuple[Panel, ...]:
    """Loss and score by epoch, from the state before training on."""
    curve = training.curve
    epochs = (curve[0].epoch, curve[-1].epoch)
    loss = {
        "kept back": [(point.epoch, point.held_out_loss) for point in curve],
        "training": [(point.epoch, point.loss) for point in curve if point.loss is not None],
    }
    score = {"kept back": [(point.epoch, point.score) for point in curve]}
    teacher = () if training.teacher_score is None else (training.teacher_score,)
    title = "Accuracy" if training.task == "classify" else "Signal to noise, dB"
    return (
        _panel(f"{training.scheme}: loss", epochs, loss, at_least=(0.0,)),
        _panel(f"{training.scheme}: {title}", epochs, score, at_least=teacher),
    )


def round_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Evenly spaced round values that cover ``low`` to ``high``.

    The step is 1, 2 or 5 times a power of ten, the smallest that needs at most ``most`` values.
    """
    span = high - low
    if span <= 0:
        span = abs(high) or 1.0
        high = low + span
    exponent = math.floor(math.log10(span / most))
    for factor in (1, 2, 5, 10, 20, 50):
        step = factor * 10.0**exponent
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            break
    return tuple(round(index * step, 12) for index in range(first, last + 1))


def _panel(
    title: str,
    epochs: tuple[int, int],
    series: dict[str, list[tuple[int, float]]],
    *,
    at_least: tuple[float, ...],
) -> Panel:
    """Places the series in a drawing whose vertical axis also covers ``at_least``."""
    values = [value for points in series.values() for _, value in points]
    values += at_least
    ticks = round_ticks(min(values), max(values))
    first, last = epochs

    def x_of(epoch: float) -> float:
        share = (epoch - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (WIDTH - _RIGHT - _LEFT)

    def y_of(value: float) -> float:
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return HEIGHT - _BOTTOM - share * (HEIGHT - _BOTTOM - _TOP)

    lines = tuple(
        Line(name, role, tuple((x_of(epoch), y_of(value)) for epoch, value in series[name]))
        for name, role in zip(series, ("first", "second"), strict=False)
        if series[name]
    )
    return Panel(
        title,
        lines,
        tuple(Tick(x_of(epoch), str(epoch)) for epoch in _epoch_ticks(first, last)),
        tuple(Tick(y_of(value), f"{value:g}") for value in ticks),
    )


def _epoch_ticks(first: int, last: int) -> list[int]:
    """The first epoch, and whole multiples of a round step after it."""
    if first == last:
        return [first]
    steps = round_ticks(first, last)
    step = max(1.0, steps[1] - steps[0])
    later = [round(value) for value in steps if value == round(value) and value <= last]
    return [first, *(epoch for epoch in later if epoch - first >= step / 2)]
