from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from edgekit.core.quant import ActivationScheme
from edgekit.quantization.affine import affine_parameters
from edgekit.quantization.histogram import StreamingHistogram
from edgekit.quantization.parameters import ValueRange
from edgekit.quantization.ranges.entropy import divergence, entropy_range
from edgekit.quantization.ranges.mse import expected_error, mse_range
from edgekit.quantization.ranges.percentile import percentile_range

SCHEME = ActivationScheme()


def _histogram(values: npt.NDArray[np.float32]) -> tuple[StreamingHistogram, ValueRange]:
    histogram = StreamingHistogram()
    histogram.update(values)
    return histogram, ValueRange(float(values.min()), float(values.max()))


def _normal(size: int = 100_000) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def _with_outliers() -> npt.NDArray[np.float32]:
    return np.concatenate([_normal(), np.array([60.0, -50.0], np.float32)])


@pytest.mark.parametrize("percentile", [99.0, 99.9, 100.0])
@pytest.mark.parametrize("rectified", [False, True])
def test_percentile_is_that_of_numpy_within_a_bin(percentile: float, rectified: bool) -> None:
    values = np.maximum(_normal(), 0) if rectified else _normal()
    histogram, bounds = _histogram(values)
    found = percentile_range(histogram, bounds, percentile)
    tail = (100 - percentile) / 2
    expected = np.percentile(values, [tail, 100 - tail])
    assert found.low == pytest.approx(expected[0], abs=histogram.width)
    assert found.high == pytest.approx(expected[1], abs=histogram.width)


def test_percentile_leaves_outliers_out() -> None:
    histogram, bounds = _histogram(_with_outliers())
    found = percentile_range(histogram, bounds, 99.99)
    assert -5 < found.low < -3
    assert 3 < found.high < 5


def test_percentile_of_a_constant() -> None:
    histogram, bounds = _histogram(np.full(10, 3.0, np.float32))
    assert percentile_range(histogram, bounds, 99.9) == ValueRange(3.0, 3.0)


def _true_error(
    values: npt.NDArray[np.float32], candidate: ValueRange, scheme: ActivationScheme
) -> float:
    affine = affine_parameters(candidate.low, candidate.high, scheme)
    restored = affine.dequantize(affine.quantize(values))
    return float(np.mean((values.astype(np.float64) - restored) ** 2))


@pytest.mark.parametrize("outliers", [(), (60.0, -50.0)])
def test_mse_is_near_the_best_of_a_brute_force_search(outliers: tuple[float, ...]) -> None:
    values = np.concatenate([_normal(20_000), np.array(outliers, np.float32)])
    histogram, bounds = _histogram(values)
    found = _true_error(values, mse_range(histogram, bounds, SCHEME), SCHEME)
    best = min(
        _true_error(values, ValueRange(low, high), SCHEME)
        for low in bounds.low * np.linspace(0.05, 1, 20)
        for high in bounds.high * np.linspace(0.05, 1, 20)
    )
    assert found <= best * 1.05
    assert found <= _true_error(values, bounds, SCHEME)


@pytest.mark.parametrize("scheme", [SCHEME, ActivationScheme(bits=16, symmetric=True)])
def test_expected_error_is_that_of_the_elements(scheme: ActivationScheme) -> None:
    values = _normal(50_000)
    histogram, bounds = _histogram(values)
    occupied = histogram.counts > 0
    found = expected_error(
        histogram.centers()[occupied],
        histogram.counts[occupied],
        histogram.width,
        bounds,
        scheme,
    )
    assert found == pytest.approx(_true_error(values, bounds, scheme), rel=0.1)


def _divergence_by_definition(
    values: npt.NDArray[np.float32], histogram: StreamingHistogram, candidate: ValueRange
) -> float:
    """The same in plain loops over bins, with quantization by `AffineParameters`."""
    affine = affine_parameters(candidate.low, candidate.high, SCHEME)
    low, high = affine.bounds
    centers, counts = histogram.centers(), histogram.counts
    inside = [
        index
        for index, center in enumerate(centers)
        if low - affine.scale / 2 <= center <= high + affine.scale / 2
    ]
    p = {index: float(counts[index]) for index in inside}
    p[inside[0]] += float(counts[: inside[0]].sum())
    p[inside[-1]] += float(counts[inside[-1] + 1 :].sum())
    levels: dict[int, list[int]] = {}
    for index in inside:
        levels.setdefault(round(centers[index] / affine.scale), []).append(index)
    q = {}
    for bins in levels.values():
        occupied = [index for index in bins if p[index] > 0]
        for index in occupied:
            q[index] = sum(float(counts[item]) for item in bins) / len(occupied)
    total_p, total_q = sum(p.values()), sum(q.values())
    result = 0.0
    for index in q:
        share_p = p[index] / total_p
        share_q = (1 - 1e-4) * q[index] / total_q + 1e-4 / len(q)
        result += share_p * math.log(share_p / share_q)
    return result


@pytest.mark.parametrize("shrink", [1.0, 0.8, 0.5])
def test_divergence_follows_its_definition(shrink: float) -> None:
    values = _normal(20_000)
    histogram, bounds = _histogram(values)
    candidate = ValueRange(bounds.low * shrink, bounds.high * shrink)
    counts = histogram.counts.astype(np.float64)
    assert divergence(histogram.centers(), counts, candidate, SCHEME) == pytest.approx(
        _divergence_by_definition(values, histogram, candidate), abs=1e-9
    )


def test_entropy_cuts_outliers_but_keeps_the_bulk() -> None:
    histogram, bounds = _histogram(_with_outliers())
    found = entropy_range(histogram, bounds, SCHEME)
    assert 3.0 < found.high < 40.0
    assert -40.0 < found.low < -2.5


def test_entropy_keeps_the_whole_range_of_what_is_evenly_spread() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    histogram, bounds = _histogram(values)
    found = entropy_range(histogram, bounds, SCHEME)
    assert found.high > 0.95
    assert found.low < -0.95
