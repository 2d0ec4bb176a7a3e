"""Latency on a clock that the test moves."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest

from edgekit.measure import latency
from edgekit.measure.device import device_name
from edgekit.measure.latency import bootstrap_median, interleaved, measure_latency

MS = 1_000_000


class Clock:
    """Stands for perf_counter_ns."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now

    def run(self, times_ms: Callable[[int], float]) -> Callable[[], None]:
        """A callable whose n-th run takes ``times_ms(n)``."""
        count = 0

        def once() -> None:
            nonlocal count
            self.now += round(times_ms(count) * MS)
            count += 1

        return once


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(latency, "perf_counter_ns", made)
    return made


class Recorder:
    def __init__(self) -> None:
        self.steps = 0
        self.finished = False

    def start(self, label: str, total: int | None) -> None:
        self.total = total

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.steps += steps

    def finish(self) -> None:
        self.finished = True


def test_a_steady_run_warms_up_in_two_windows(clock: Clock) -> None:
    timings = measure_latency(clock.run(lambda n: 2.0), runs=50, warmup_runs=10)
    assert (timings.warmup_runs, timings.stable) == (20, True)
    stats = timings.stats(threads=2, runtime="test 1.0")
    assert (stats.p50_ms, stats.p90_ms, stats.mean_ms, stats.min_ms) == (2, 2, 2, 2)
    assert (stats.runs, stats.warmup_runs, stats.threads, stats.batch) == (50, 20, 2, 1)
    assert (stats.runtime, stats.device, stats.notes) == ("test 1.0", device_name(), ())


def test_a_slow_start_is_warmed_up_longer_and_not_counted(clock: Clock) -> None:
    run = clock.run(lambda n: 10.0 if n < 10 else 5.0 if n < 20 else 1.0)
    timings = measure_latency(run, runs=30, warmup_runs=10)
    assert (timings.warmup_runs, timings.stable) == (40, True)
    assert timings.percentile_ms(100) == 1.0


def test_what_never_settles_ends_and_is_told(clock: Clock) -> None:
    timings = measure_latency(clock.run(lambda n: 1.2**n), runs=5, warmup_runs=2)
    assert (timings.warmup_runs, timings.stable) == (20, False)
    stats = timings.stats(threads=1, runtime="r", notes=("first",))
    assert stats.notes[0] == "first"
    assert "did not settle within 5% during 20 warm-up runs" in stats.notes[1]


def test_a_long_warm_up_ends_after_five_seconds(clock: Clock) -> None:
    timings = measure_latency(clock.run(lambda n: 2000.0), runs=1, warmup_runs=10)
    assert (timings.warmup_runs, timings.stable) == (3, False)


def test_no_warm_up_when_none_is_asked_for(clock: Clock) -> None:
    timings = measure_latency(clock.run(lambda n: float(n + 1)), runs=11, warmup_runs=0)
    assert timings.warmup_runs == 0
    stats = timings.stats(threads=1, runtime="r")
    assert (stats.min_ms, stats.p50_ms, stats.p90_ms, stats.mean_ms) == (1, 6, 10, 6)
    assert stats.notes == ()


@pytest.mark.parametrize("runs", [1, 7, 20, 33, 100])
def test_progress_reaches_the_total(clock: Clock, runs: int) -> None:
    recorder = Recorder()
    measure_latency(clock.run(lambda n: 1.0), runs=runs, warmup_runs=1, progress=recorder)
    assert (recorder.total, recorder.steps, recorder.finished) == (runs, runs, True)


def test_the_garbage_collector_rests_and_comes_back() -> None:
    seen: list[bool] = []

    def run() -> None:
        seen.append(gc.isenabled())
        if len(seen) == 3:
            raise RuntimeError("broken")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="broken"):
        measure_latency(run, progress=recorder)
    assert seen == [False, False, False]
    assert gc.isenabled()
    assert recorder.finished


@pytest.mark.parametrize(("runs", "warmup"), [(0, 1), (1, -1)])
def test_impossible_counts_are_refused(runs: int, warmup: int) -> None:
    with pytest.raises(ValueError, match="cannot be measured"):
        measure_latency(lambda: None, runs=runs, warmup_runs=warmup)
    with pytest.raises(ValueError, match="cannot be measured"):
        interleaved(lambda: None, lambda: None, runs=runs, warmup_runs=warmup)


def test_a_drift_of_the_machine_does_not_touch_the_ratio(clock: Clock) -> None:
    # The machine slows down steadily to a tenth of its speed; A always takes 3/4 of B.
    drift = 1.0

    def run(base: float) -> Callable[[], None]:
        def once() -> None:
            nonlocal drift
            clock.now += round(base * drift * MS)
            drift *= 1.005

        return once

    result = interleaved(run(3.0), run(4.0), runs=200, warmup_runs=2, seed=1)
    assert result.median_ratio == pytest.approx(0.75, rel=0.01)
    assert result.low <= result.median_ratio <= result.high
    assert result.high - result.low < 0.02
    assert (result.pairs, result.seed, result.confidence) == (200, 1, 0.95)
    assert result.device == device_name()


def test_both_orders_occur_and_follow_the_seed() -> None:
    def order(seed: int) -> str:
        calls: list[str] = []
        interleaved(
            lambda: calls.append("a"), lambda: calls.append("b"), runs=40, warmup_runs=0, seed=seed
        )
        return "".join(calls)

    first = order(0)
    pairs = [first[index : index + 2] for index in range(0, 80, 2)]
    assert set(pairs) == {"ab", "ba"}
    assert order(0) == first
    assert order(1) != first


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(40):
        low, high = bootstrap_median(rng.lognormal(0.0, 0.3, 60), rng)
        hits += low <= 1.0 <= high
    # 38 of 40 are expected; fewer than 33 has a probability of 1e-3.
    assert hits >= 33


def test_equal_callables_have_a_ratio_of_one(clock: Clock) -> None:
    run = clock.run(lambda n: 1.0)
    result = interleaved(run, run, runs=10)
    assert (result.ratio_of_medians, result.median_ratio) == (1, 1)
    assert (result.low, result.high) == (1, 1)


def test_runs_below_the_clocks_resolution_do_not_divide_by_zero(clock: Clock) -> None:
    result = interleaved(lambda: None, lambda: None, runs=5)
    assert result.ratio_of_medians == 1
    assert measure_latency(lambda: None, runs=5).percentile_ms(50) == 0
