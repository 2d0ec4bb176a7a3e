"""Sums over samples against NumPy over all of them at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.observation import Steps
from edgekit.measure.error_meter import ErrorMeter, PartsMeter, decibels, needed_step


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(1e-3, 1e2))
@settings(max_examples=25)
def test_figures_are_those_of_all_samples(seed: int, samples: int, size: float) -> None:
    random = np.random.default_rng(seed)
    wanted = random.standard_normal((samples, 3, 5)).astype(np.float32) * np.float32(size)
    got = wanted + random.standard_normal(wanted.shape).astype(np.float32)
    meter = ErrorMeter()
    for reference, value in zip(wanted, got, strict=True):
        meter.update(reference, value)
    figures = meter.figures(scale=0.25)
    a, b = wanted.astype(np.float64).ravel(), got.astype(np.float64).ravel()
    assert figures.sqnr_db == pytest.approx(10 * np.log10((a @ a) / ((b - a) @ (b - a))))
    assert figures.max_abs == pytest.approx(np.abs(b - a).max())
    assert figures.lsb == pytest.approx(np.abs(b - a).max() / 0.25)
    assert figures.cosine == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)))
    assert figures.noise == pytest.approx(np.mean((b - a) ** 2))


def test_equal_tensors() -> None:
    meter = ErrorMeter()
    meter.update(np.ones(3, np.float32), np.ones(3, np.float32))
    figures = meter.figures(None)
    assert figures.equal
    assert (figures.sqnr_db, figures.max_abs, figures.lsb) == (None, 0.0, None)
    assert figures.cosine == 1.0


def test_a_tensor_of_zeros_has_no_cosine() -> None:
    meter = ErrorMeter()
    meter.update(np.zeros(3, np.float32), np.ones(3, np.float32))
    figures = meter.figures(None)
    assert (figures.sqnr_db, figures.cosine, figures.max_abs) == (None, None, 1.0)
    assert not figures.equal


def test_what_is_not_finite_on_one_side_is_counted() -> None:
    meter = ErrorMeter()
    meter.update(
        np.array([1.0, np.inf, 2.0, np.nan], np.float32),
        np.array([1.0, np.inf, np.nan, 3.0], np.float32),
    )
    assert meter.not_finite == 2
    assert meter.figures(None).equal


def test_decibels_of_nothing() -> None:
    assert decibels(1.0, 0.0) is None
    assert decibels(0.0, 1.0) is None
    assert decibels(100.0, 1.0) == pytest.approx(20.0)


def test_parts_of_a_clipped_tensor() -> None:
    steps = Steps(1.0, 0, "int8")
    meter = PartsMeter(steps)
    reference = np.array([0.25, 130.0, -200.0, 5.0], np.float32)
    value = np.array([0.0, 127.0, -128.0, 8.0], np.float32)
    meter.update(reference, value)
    parts = meter.parts(needed_step(steps, meter.low, meter.high))
    assert parts.rounding == pytest.approx(0.25**2 / 4)
    assert parts.clipping == pytest.approx((3.0**2 + 72.0**2) / 4)
    assert parts.computation == pytest.approx(3.0**2 / 4)
    assert parts.clipped_share == 0.5
    assert parts.step_ratio == pytest.approx(128 / 200)


def test_samples_with_values_beyond_an_end() -> None:
    meter = PartsMeter(Steps(1.0, 0, "int8"))
    runs = (
        # Beyond the upper end in two samples of three, beyond the lower in one of them.
        [[130.0, 5.0], [200.0, -300.0], [1.0, 127.4]],
        [[1.0, np.nan], [2.0, 3.0], [4.0, 5.0]],
    )
    for run in runs:
        array = np.array(run, np.float32)
        meter.update(array, array, samples=3)
    assert meter.parts(None).clipped_samples == pytest.approx(2 / 6)
    # A tensor without an axis of samples is one.
    meter.update(np.full(7, 500.0, np.float32), np.full(7, 127.0, np.float32), samples=3)
    assert meter.parts(None).clipped_samples == pytest.approx(3 / 7)


def test_a_prescribed_scale_is_not_judged() -> None:
    meter = PartsMeter(Steps(1 / 256, -128, "int8", prescribed=True))
    meter.update(np.array([0.01], np.float32), np.array([0.01], np.float32))
    assert meter.parts(1e-5).step_ratio is None


@given(
    st.integers(-128, 127), st.floats(-100, 0, width=32), st.floats(0, 100, width=32),
)  # fmt: skip
def test_the_needed_step_is_the_smallest_that_reaches(
    zero_point: int, low: float, high: float
) -> None:
    step = needed_step(Steps(1.0, zero_point, "int8"), low, high)
    if step == 0:
        # With the zero point at an end, nothing can be done for that side.
        assert low == 0 or zero_point == -128
        assert high == 0 or zero_point == 127
        return
    reached = Steps(step, zero_point, "int8").bounds
    assert zero_point == -128 or reached[0] <= low * (1 - 1e-9)
    assert zero_point == 127 or reached[1] >= high * (1 - 1e-9)
    smaller = Steps(step * 0.99, zero_point, "int8").bounds
    assert (zero_point != -128 and smaller[0] > low) or (zero_point != 127 and smaller[1] < high)


def test_the_reference_end_to_end_widens_the_range() -> None:
    steps = Steps(1.0, 0, "int8")
    meter = PartsMeter(steps)
    meter.update(np.array([1.0], np.float32), np.array([1.0], np.float32))
    meter.widen(np.array([-3.0, np.inf, 100.0], np.float32))
    assert (meter.low, meter.high) == (-3.0, 100.0)
