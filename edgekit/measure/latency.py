"""Latency of a callable, alone or against another in one interleaved run."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np
import numpy.typing as npt

from edgekit.core.metrics import LatencyStats
from edgekit.core.model_base import FrozenModel
from edgekit.core.progress import Progress, SilentProgress
from edgekit.measure.device import device_name

STABLE_WITHIN = 0.05
MAX_WARMUP_WINDOWS = 10
MAX_WARMUP_NS = 5_000_000_000
BOOTSTRAP_RESAMPLES = 2000
_BLOCK_VALUES = 1_000_000
_PROGRESS_STEPS = 20

type Runnable = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timings:
    """Measured times of one callable.

    Attributes:
        samples_ns: Each measured run, ``int64[runs]``, in nanoseconds.
        warmup_runs: Runs before them.
        stable: Whether the warm-up ended by its rule and not by its limit.
    """

    samples_ns: npt.NDArray[np.int64]
    warmup_runs: int
    stable: bool

    def percentile_ms(self, percent: float) -> float:
        """A percentile of the runs, linearly interpolated, in milliseconds."""
        return float(np.percentile(self.samples_ns, percent)) / 1e6

    def stats(
        self,
        *,
        threads: int,
        runtime: str,
        batch: int = 1,
        peak_memory_bytes: int | None = None,
        notes: tuple[str, ...] = (),
    ) -> LatencyStats:
        """The figures with their conditions; the device is this one."""
        if self.warmup_runs and not self.stable:
            unsettled = (
                f"the latency did not settle within {STABLE_WITHIN:.0%} during "
                f"{self.warmup_runs} warm-up runs"
            )
            notes = (*notes, unsettled)
        return LatencyStats(
            p50_ms=self.percentile_ms(50),
            p90_ms=self.percentile_ms(90),
            mean_ms=float(self.samples_ns.mean()) / 1e6,
            min_ms=float(self.samples_ns.min()) / 1e6,
            runs=len(self.samples_ns),
            warmup_runs=self.warmup_runs,
            threads=threads,
            batch=batch,
            runtime=runtime,
            device=device_name(),
            peak_memory_bytes=peak_memory_bytes,
            notes=notes,
        )


class LatencyRatio(FrozenModel):
    """Latency of A over that of B, from runs of both in turn; below 1 means A is faster.

    Attributes:
        a_p50_ms: Median of A.
        b_p50_ms: Median of B.
        ratio_of_medians: ``a_p50_ms / b_p50_ms``.
        median_ratio: Median of the ratios of each pair of neighbouring runs; over several loads
            the trimmed mean of the loads' medians.
        low: Lower end of the bootstrap interval of ``median_ratio``.
        high: Upper end of it.
        confidence: Coverage of the interval.
        pairs: Number of pairs, in all loads together.
        loads: How often both were loaded anew; of one load the interval knows only its runs.
        warmup_runs: Runs of each before them, in the first load.
        seed: Seed of the order within the pairs and of the bootstrap.
        device: Processor.
    """

    a_p50_ms: float
    b_p50_ms: float
    ratio_of_medians: float
    median_ratio: float
    low: float
    high: float
    confidence: float = 0.95
    pairs: int
    loads: int = 1
    warmup_runs: int
    seed: int
    device: str


def measure_latency(
    run: Runnable,
    *,
    runs: int = 100,
    warmup_runs: int = 10,
    progress: Progress | None = None,
) -> Timings:
    """Times ``run`` after a warm-up.

    The warm-up goes in windows of ``warmup_runs`` runs and ends when the median of a window
    is within 5 % of that of the window before, at the latest after 10 windows or 5 seconds.
    With ``warmup_runs`` of 0 there is none. The garbage collector rests meanwhile.

    Args:
        run: One inference; its result is dropped.
        runs: Measured runs, at least 1.
        warmup_runs: Window of the warm-up.
        progress: Receives the advance.

    Raises:
        ValueError: If ``runs`` is below 1 or ``warmup_runs`` below 0.
    """
    if runs < 1 or warmup_runs < 0:
        raise ValueError(f"{runs} runs after {warmup_runs} warm-up runs cannot be measured")
    progress = progress or SilentProgress()
    samples = np.empty(runs, dtype=np.int64)
    with _reported(progress, "latency", runs) as done, garbage_collector_off():
        warmed, stable = warm_up(run, warmup_runs)
        for index in range(runs):
            samples[index] = _time_once(run)
            done(index)
    return Timings(samples_ns=samples, warmup_runs=warmed, stable=stable)


def interleaved(
    a: Runnable,
    b: Runnable,
    *,
    runs: int = 100,
    warmup_runs: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyRatio:
    """Times two callables in turn, so that a drift of the machine strikes both alike.

    Each pair runs both once, in random order. The interval is the percentile bootstrap of
    the median over pairs.

    Args:
        a: The numerator.
        b: The denominator.
        runs: Pairs, at least 1.
        warmup_runs: Window of each one's warm-up, as in `measure_latency`.
        seed: Seed of the order and of the bootstrap.
        progress: Receives the advance.

    Raises:
        ValueError: If ``runs`` is below 1 or ``warmup_runs`` below 0.
    """
    if runs < 1 or warmup_runs < 0:
        raise ValueError(f"{runs} pairs after {warmup_runs} warm-up runs cannot be measured")
    progress = progress or SilentProgress()
    rng = np.random.default_rng(seed)
    with _reported(progress, "latency, interleaved", runs) as done, garbage_collector_off():
        warmed = max(warm_up(a, warmup_runs)[0], warm_up(b, warmup_runs)[0])
        times = time_pairs(a, b, runs, rng, done)
    return _ratio(times, warmed, seed, rng)


def time_pairs(
    a: Runnable,
    b: Runnable,
    pairs: int,
    rng: np.random.Generator,
    done: Callable[[int], None] = lambda index: None,
) -> npt.NDArray[np.int64]:
    """Times both once in each pair, in random order: ``int64[pairs, 2]``, A first, nanoseconds."""
    times = np.empty((pairs, 2), dtype=np.int64)
    for index, first in enumerate(rng.random(pairs) < 0.5):
        for column in (0, 1) if first else (1, 0):
            times[index, column] = _time_once((a, b)[column])
        done(index)
    return times


def bootstrap_median(
    values: npt.NDArray[np.float64], rng: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the median (B. Efron, Ann. Stat. 7, 1979)."""
    block = max(1, _BLOCK_VALUES // len(values))
    medians = np.concatenate(
        [
            np.median(values[rng.integers(0, len(values), (rows, len(values)))], axis=1)
            for start in range(0, BOOTSTRAP_RESAMPLES, block)
            if (rows := min(block, BOOTSTRAP_RESAMPLES - start))
        ]
    )
    tail = 50 * (1 - confidence)
    low, high = np.percentile(medians, [tail, 100 - tail])
    return float(low), float(high)


def _ratio(
    times: npt.NDArray[np.int64], warmed: int, seed: int, rng: np.random.Generator
) -> LatencyRatio:
    # A run shorter than the clock's resolution would divide by 0.
    positive = np.maximum(times, 1).astype(np.float64)
    ratios = positive[:, 0] / positive[:, 1]
    low, high = bootstrap_median(ratios, rng)
    a_p50, b_p50 = np.median(positive, axis=0)
    return LatencyRatio(
        a_p50_ms=float(a_p50) / 1e6,
        b_p50_ms=float(b_p50) / 1e6,
        ratio_of_medians=float(a_p50 / b_p50),
        median_ratio=float(np.median(ratios)),
        low=low,
        high=high,
        pairs=len(times),
        warmup_runs=warmed,
        seed=seed,
        device=device_name(),
    )


def warm_up(run: Runnable, window: int) -> tuple[int, bool]:
    """Runs until stable; gives the number of runs and whether they became stable."""
    times: list[int] = []
    before = 0.0
    spent = 0
    for _ in range(MAX_WARMUP_WINDOWS if window else 0):
        for _ in range(window):
            times.append(_time_once(run))
            spent += times[-1]
            if spent > MAX_WARMUP_NS:
                return len(times), False
        now = float(np.median(times[-window:]))
        if before and abs(now - before) <= STABLE_WITHIN * before:
            return len(times), True
        before = now
    return len(times), False


def timed_us(run: Runnable) -> float:
    """Runs once; gives the microseconds that it took."""
    return _time_once(run) / 1e3


def _time_once(run: Runnable) -> int:
    start = perf_counter_ns()
    run()
    return perf_counter_ns() - start


@contextmanager
def _reported(progress: Progress, label: str, runs: int) -> Iterator[Callable[[int], None]]:
    """Tells the progress of a measurement in few steps, for drawing disturbs the caches."""
    step = max(1, runs // _PROGRESS_STEPS)

    def done(index: int) -> None:
        if (index + 1) % step == 0:
            progress.advance(step)
        elif index + 1 == runs:
            progress.advance(runs % step)

    progress.start(label, runs)
    try:
        yield done
    finally:
        progress.finish()


@contextmanager
def garbage_collector_off() -> Iterator[None]:
    """Keeps the garbage collector from running meanwhile."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
