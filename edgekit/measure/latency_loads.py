"""Latency of one artifact over another's, over fresh loads of both.

Where an interpreter happens to place its buffers shifts its latency: of two loads of one file in
one process, each alone with a narrow interval over its runs, one can be 1 % slower than the other
for as long as they live, and the one that was loaded first is mostly the slower. An interval over
the runs of one load knows nothing of that. So both artifacts are loaded several times, in
alternating order, and the interval is one over loads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from statistics import NormalDist, median

import numpy as np
import numpy.typing as npt

from edgekit.core.load_plan import MIN_LOADS, LoadPlan
from edgekit.core.progress import Progress, SilentProgress
from edgekit.measure.device import device_name
from edgekit.measure.latency import (
    LatencyRatio,
    Runnable,
    garbage_collector_off,
    time_pairs,
    warm_up,
)

TRIMMED_SHARE = 0.2
"""Share of the loads that is left out at each end: a burst of other work spoils whole loads."""

RESAMPLES = 10_000
"""Enough that the far ends that a high confidence asks of few loads are met several times."""

type Loader = Callable[[], AbstractContextManager[Runnable]]
"""Loads an artifact anew; within the context its result runs one inference."""


class LoadedPairs:
    """Times pairs of runs in load after load, as many as are wanted.

    The first load is warmed up until its latency is stable, those after it by
    ``plan.warmup_runs`` runs.
    """

    def __init__(self, a: Loader, b: Loader, plan: LoadPlan) -> None:
        self._loaders = (a, b)
        self._plan = plan
        self._rng = np.random.default_rng(plan.seed)
        self._times: list[npt.NDArray[np.int64]] = []
        self._seconds: list[float] = []
        self._warmed = 0

    @property
    def loads(self) -> int:
        """Loads measured so far."""
        return len(self._times)

    def measure(
        self, loads: int, progress: Progress | None = None, deadline_s: float = math.inf
    ) -> None:
        """Adds that many loads of both; which is loaded first alternates.

        Args:
            loads: Loads to add.
            progress: Receives the advance, in loads.
            deadline_s: Time of `time.perf_counter` that no load is begun for which would not end
                before, by the median of those so far; the first 6 are always made.
        """
        progress = progress or SilentProgress()
        progress.start("latency, fresh loads", loads)
        try:
            for _ in range(loads):
                start_s = time.perf_counter()
                if self.loads >= MIN_LOADS and start_s + median(self._seconds) > deadline_s:
                    break
                self._measure_load()
                self._seconds.append(time.perf_counter() - start_s)
                progress.advance()
        finally:
            progress.finish()

    def ratio(self, confidence: float = 0.95) -> LatencyRatio:
        """Latency of A over that of B over all loads so far, with its interval.

        Raises:
            ValueError: If fewer than two loads were measured.
        """
        # A run shorter than the clock's resolution would divide by 0.
        times = np.maximum(np.stack(self._times), 1).astype(np.float64)
        a_p50, b_p50 = np.median(times, axis=(0, 1))
        centres = np.median(np.log(times[:, :, 0] / times[:, :, 1]), axis=1)
        low, high = bootstrap_loads(centres, np.random.default_rng(self._plan.seed), confidence)
        return LatencyRatio(
            a_p50_ms=float(a_p50) / 1e6,
            b_p50_ms=float(b_p50) / 1e6,
            ratio_of_medians=float(a_p50 / b_p50),
            median_ratio=math.exp(float(trimmed_mean(centres))),
            low=math.exp(low),
            high=math.exp(high),
            confidence=confidence,
            pairs=times.shape[0] * times.shape[1],
            loads=times.shape[0],
            warmup_runs=self._warmed,
            seed=self._plan.seed,
            device=device_name(),
        )

    def _measure_load(self) -> None:
        a_first = self.loads % 2 == 0
        first, second = self._loaders if a_first else reversed(self._loaders)
        with first() as early, second() as late:
            a, b = (early, late) if a_first else (late, early)
            with garbage_collector_off():
                self._warm_up(a, b)
                self._times.append(time_pairs(a, b, self._plan.pairs, self._rng))

    def _warm_up(self, a: Runnable, b: Runnable) -> None:
        window = self._plan.warmup_runs
        if not self._times:
            self._warmed = max(warm_up(a, window)[0], warm_up(b, window)[0])
            return
        for _ in range(window):
            a()
            b()


def compare_loads(
    a: Loader, b: Loader, plan: LoadPlan | None = None, progress: Progress | None = None
) -> LatencyRatio:
    """Latency of A over that of B, over fresh loads of both.

    Args:
        a: Loads the numerator.
        b: Loads the denominator.
        plan: Loads, pairs, warm-up and seed.
        progress: Receives the advance, in loads.
    """
    plan = plan or LoadPlan()
    measured = LoadedPairs(a, b, plan)
    measured.measure(plan.loads, progress)
    return measured.ratio()


def bootstrap_loads(
    centres: npt.NDArray[np.float64], rng: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the trimmed mean over loads.

    Loads are drawn with replacement and keep their pairs: drawing pairs within them anew would
    count their spread twice (A. C. Davison and D. V. Hinkley, Bootstrap Methods and their
    Application, 1997, section 3.8). For few loads the percentiles are taken further out, as
    Student's t is wider than the normal distribution (T. C. Hesterberg, What Teachers Should Know
    About the Bootstrap, The American Statistician 69, 2015, "expanded percentile interval").

    Args:
        centres: Median log ratio of each load, ``float64[loads]``.
        rng: Source of the draws.
        confidence: Coverage.

    Raises:
        ValueError: If there are fewer than two loads.
    """
    from scipy.special import stdtrit

    loads = len(centres)
    if loads < 2:
        raise ValueError(f"{loads} load has no interval")
    drawn = centres[rng.integers(0, loads, (RESAMPLES, loads))]
    quantile = float(stdtrit(loads - 1, 0.5 + confidence / 2))
    tail = 100 * NormalDist().cdf(-math.sqrt(loads / (loads - 1)) * quantile)
    low, high = np.percentile(trimmed_mean(drawn), [tail, 100 - tail])
    return float(low), float(high)


def trimmed_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the last axis without a fifth of the values at each end."""
    cut = int(TRIMMED_SHARE * values.shape[-1])
    kept = np.sort(values, axis=-1)[..., cut : values.shape[-1] - cut]
    return np.asarray(kept.mean(axis=-1))
