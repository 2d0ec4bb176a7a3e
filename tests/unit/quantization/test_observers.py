from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.quant import ActivationScheme
from edgekit.quantization.observers import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
)
from edgekit.quantization.parameters import ValueRange
from edgekit.quantization.range_rules import RangeRule, ValueStatistics

BATCHES = [np.random.default_rng(seed).normal(seed, 2, 50).astype(np.float32) for seed in range(5)]


def test_minmax() -> None:
    observer = MinMaxObserver()
    for batch in BATCHES:
        observer.update(batch)
    everything = np.concatenate(BATCHES)
    assert observer.range() == ValueRange(float(everything.min()), float(everything.max()))


def test_moving_average_follows_its_definition() -> None:
    observer = MovingAverageObserver(rate=0.25)
    for batch in BATCHES:
        observer.update(batch)
    # average = sum of rate * (1 - rate)^(n - k) * x_k, with the first batch at full weight.
    weights = [0.75**4, *(0.25 * 0.75 ** (4 - k) for k in range(1, 5))]
    low = sum(w * float(b.min()) for w, b in zip(weights, BATCHES, strict=True))
    high = sum(w * float(b.max()) for w, b in zip(weights, BATCHES, strict=True))
    assert observer.range().low == pytest.approx(low, rel=1e-9)
    assert observer.range().high == pytest.approx(high, rel=1e-9)


@pytest.mark.parametrize("kind", [MinMaxObserver, MovingAverageObserver, HistogramObserver])
@pytest.mark.parametrize("before", [0, 2])
def test_restored_observer_continues_as_if_never_stopped(
    kind: type[Observer], before: int
) -> None:
    straight, first, second = kind(), kind(), kind()
    for batch in BATCHES[:before]:
        first.update(batch)
    second.restore(first.state())
    for batch in BATCHES[before:]:
        second.update(batch)
    for batch in BATCHES:
        straight.update(batch)
    for name, array in straight.state().items():
        np.testing.assert_array_equal(second.state()[name], array)


def _statistics(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> ValueStatistics:
    kept = ValueStatistics(average=MovingAverageObserver(), histogram=HistogramObserver())
    for observer in kept.observers:
        observer.update(values)
    return kept


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_values_that_share_parameters_count_as_one(method: str) -> None:
    rule = RangeRule(method)  # type: ignore[arg-type]
    apart = [_statistics(batch) for batch in BATCHES]
    together = [_statistics(np.concatenate(BATCHES))]
    scheme = ActivationScheme()
    assert rule.range_of(apart, scheme) == rule.range_of(together, scheme)


def test_missing_statistics_are_named() -> None:
    kept = ValueStatistics()
    kept.minmax.update(BATCHES[0])
    with pytest.raises(ValueError, match="that mse needs were not kept"):
        RangeRule("mse").range_of([kept], ActivationScheme())
