"""Latency over fresh loads, on a clock that the test moves and against Student's t."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import stats

from edgekit.core.load_plan import LoadPlan
from edgekit.measure import latency
from edgekit.measure.latency_loads import (
    LoadedPairs,
    Loader,
    bootstrap_loads,
    compare_loads,
    trimmed_mean,
)

US = 1000


class Machine:
    """A clock, and loads whose placement makes them slower or faster for as long as they live."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> None:
        self.now = 0
        self.events: list[str] = []
        self.random = np.random.default_rng(seed)
        monkeypatch.setattr(latency, "perf_counter_ns", lambda: self.now)

    def loader(self, name: str, base_us: float, placement: float) -> Loader:
        @contextmanager
        def load() -> Iterator[Callable[[], object]]:
            self.events.append(f"+{name}")
            factor = 1 + placement * self.random.standard_normal()

            def run() -> None:
                self.now += round(base_us * factor * US)

            yield run
            self.events.append(f"-{name}")

        return load


def test_both_are_loaded_anew_in_alternating_order(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    plan = LoadPlan(loads=6, pairs=3)
    result = compare_loads(machine.loader("a", 300, 0), machine.loader("b", 200, 0), plan)
    assert machine.events == ["+a", "+b", "-b", "-a", "+b", "+a", "-a", "-b"] * 3
    assert (result.loads, result.pairs) == (6, 18)
    assert result.median_ratio == pytest.approx(1.5)
    assert [result.low, result.high] == pytest.approx([1.5, 1.5])
    assert [result.a_p50_ms, result.b_p50_ms] == pytest.approx([0.3, 0.2])


def test_the_interval_knows_the_spread_of_placement(monkeypatch: pytest.MonkeyPatch) -> None:
    # Within a load every pair has the same ratio, so that an interval over pairs has no width.
    machine = Machine(monkeypatch)
    a, b = machine.loader("a", 100_000, 0.01), machine.loader("b", 100_000, 0.01)
    covered = 0
    for seed in range(60):
        found = compare_loads(a, b, LoadPlan(loads=10, pairs=2, warmup_runs=0, seed=seed))
        covered += found.low <= 1 <= found.high
        assert found.high - found.low > 0.004
    # 57 of 60 are expected; fewer than 51 has a probability below 0.5 %.
    assert covered >= 51


def test_more_loads_can_be_added(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch)
    plan = LoadPlan(pairs=4)
    measured = LoadedPairs(machine.loader("a", 90, 0.02), machine.loader("b", 100, 0.02), plan)
    measured.measure(6)
    first = measured.ratio()
    measured.measure(30)
    second = measured.ratio(confidence=0.9)
    assert (first.loads, second.loads, measured.loads) == (6, 36, 36)
    assert second.high - second.low < first.high - first.low
    assert second.confidence == 0.9


def test_later_loads_are_warmed_up_as_often_as_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {"a": 0}

    @contextmanager
    def load() -> Iterator[Callable[[], object]]:
        yield lambda: calls.update(a=calls["a"] + 1)

    machine = Machine(monkeypatch)
    found = compare_loads(load, machine.loader("b", 1, 0), LoadPlan(loads=6, pairs=2))
    # A takes no time at all, so its warm-up never compares equal and goes on to its limit.
    assert found.warmup_runs == 50
    assert calls["a"] == 50 + 2 + 5 * (5 + 2)


@pytest.mark.parametrize("loads", [6, 8, 12, 30])
def test_interval_of_even_loads_is_about_that_of_students_t(loads: int) -> None:
    random = np.random.default_rng(0)
    widths, wanted = [], []
    for _ in range(100):
        centres = random.normal(0, 0.01, loads)
        low, high = bootstrap_loads(centres, random)
        widths.append(high - low)
        t = stats.t.ppf(0.975, loads - 1)
        wanted.append(2 * t * centres.std(ddof=1) / np.sqrt(loads))
    # The trimmed mean of normal values spreads up to a sixth more than their mean.
    assert 0.85 < np.mean(widths) / np.mean(wanted) < 1.25


def test_a_spoilt_load_hardly_moves_the_result() -> None:
    centres = np.array([0.001, -0.001, 0.002, -0.002, 0.0, 0.003, -0.003, 0.0, 0.001, 0.5])
    assert abs(trimmed_mean(centres)) < 0.001
    assert trimmed_mean(np.array([1.0, 2.0, 6.0])) == 3


def test_one_load_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 load has no interval"):
        bootstrap_loads(np.zeros(1), np.random.default_rng(0))


def test_pairs_are_spread_over_loads() -> None:
    plan = LoadPlan.of_total(100, loads=12, warmup_runs=3)
    assert (plan.loads, plan.pairs, plan.warmup_runs) == (12, 9, 3)
