"""Ticks and points of the training curve."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.run_summary import EpochPoint, RunSummary, TrainingSummary
from edgekit.report.training_curve import curve_panels, round_ticks


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e6))
def test_ticks_cover_the_range_evenly(low: float, span: float) -> None:
    ticks = round_ticks(low, low + span)
    step = ticks[1] - ticks[0]
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low + 1e-6 * step
    assert ticks[-1] >= low + span - 1e-6 * step
    for left, right in itertools.pairwise(ticks):
        assert right - left == pytest.approx(step, rel=1e-4)


def test_ticks_are_round() -> None:
    assert round_ticks(0.0, 2.3) == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
    assert round_ticks(0.1, 1.0) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert len(round_ticks(3.0, 3.0)) >= 2


def training(*points: EpochPoint) -> TrainingSummary:
    return TrainingSummary(dataset="digits/train", curve=points, parameters=1, optimizer="SGD")


def point(epoch: int, loss: float, val_accuracy: float | None = 0.5) -> EpochPoint:
    return EpochPoint(
        epoch=epoch, loss=loss, train_accuracy=0.4, val_accuracy=val_accuracy, lr=0.1
    )


def test_every_point_lies_in_its_drawing(summary: RunSummary) -> None:
    assert summary.training is not None
    for panel in curve_panels(summary.training):
        for line in panel.lines:
            assert len(line.points) == 20
            for x, y in line.points:
                assert panel.left <= x <= panel.right
                assert panel.top <= y <= panel.bottom


def test_falling_loss_falls_in_the_drawing() -> None:
    loss, _ = curve_panels(training(point(1, 2.0), point(2, 1.0), point(3, 0.5)))
    heights = [y for _, y in loss.lines[0].points]
    assert heights == sorted(heights)  # SVG counts downwards
    assert [tick.text for tick in loss.x_ticks] == ["1", "2", "3"]


def test_one_epoch_stands_in_the_middle() -> None:
    loss, accuracy = curve_panels(training(point(1, 2.0)))
    assert loss.lines[0].points[0][0] == pytest.approx((loss.left + loss.right) / 2)
    assert [line.name for line in accuracy.lines] == ["validation", "training"]


def test_no_validation_set_leaves_its_line_out() -> None:
    _, accuracy = curve_panels(training(point(1, 2.0, None), point(2, 1.0, None)))
    assert [line.name for line in accuracy.lines] == ["training"]


def test_no_epoch_draws_nothing() -> None:
    assert curve_panels(training()) == ()
