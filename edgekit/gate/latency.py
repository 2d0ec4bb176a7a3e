"""The verdict on latency: the interval of the ratio over fresh loads, looked at a few times."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgekit.core.load_plan import LoadPlan
from edgekit.core.progress import Progress
from edgekit.gate.accuracy import POWER
from edgekit.gate.options import GateOptions
from edgekit.gate.verdict import Verdict
from edgekit.measure.latency import LatencyRatio, Runnable, warm_up
from edgekit.measure.latency_loads import LoadedPairs, Loader

LOOKS = (12, 24, 48, 96)
"""Loads after which the interval is looked at. Each look gets its share of the probability of a
false alarm (Bonferroni), so that going on until something shows does not raise it."""

MIN_PAIRS = 5
MAX_PAIRS = 20
SHORTEST_RUN_S = 2e-4
"""Shorter runs are timed several at once: the call itself would be a part of the figure."""
_WARMUP_RUNS = 5


@dataclass(frozen=True, slots=True)
class LatencyJudgement:
    """A verdict on latency.

    Attributes:
        verdict: Pass when the interval of the ratio lies below 1 + tolerance, fail when it lies
            above, otherwise cannot tell.
        ratio: The figures; times are those of one run.
        minimum_effect: Slowdown, a share, that would have failed in nine of ten cases.
        needed: Loads that would tell if the ratio stays; None for a verdict that stands, and
            where the ratio is 1 + tolerance.
        seconds: Time that it took.
    """

    verdict: Verdict
    ratio: LatencyRatio
    minimum_effect: float
    needed: int | None
    seconds: float


def gate_latency(
    now: Loader,
    before: Loader,
    options: GateOptions,
    *,
    budget_s: float,
    seed: int = 0,
    progress: Progress | None = None,
) -> LatencyJudgement:
    """Measures until there is a verdict or the budget is spent.

    Args:
        now: Loads the artifact.
        before: Loads the baseline's artifact.
        options: Give the tolerance, and the coverage of the interval over all looks together.
        budget_s: Seconds after which no further loads are begun. The first 6 loads are always
            made.
        seed: Seed of the order within pairs and of the bootstrap.
        progress: Receives the advance, in loads.
    """
    start = time.perf_counter()
    once_s = _run_time(now)
    repeats = max(1, math.ceil(SHORTEST_RUN_S / once_s))
    pairs = _pairs(once_s * repeats, budget_s)
    plan = LoadPlan(pairs=pairs, warmup_runs=min(_WARMUP_RUNS, pairs), seed=seed)
    measured = LoadedPairs(_repeated(now, repeats), _repeated(before, repeats), plan)
    at_each_look = 1 - (1 - options.confidence) / len(LOOKS)
    for look in LOOKS:
        measured.measure(look - measured.loads, progress, start + budget_s)
        ratio = _of_one_run(measured.ratio(at_each_look), repeats)
        judged = judge_ratio(ratio, options.latency_tolerance, time.perf_counter() - start)
        if judged.verdict is not Verdict.CANNOT_TELL or measured.loads < look:
            break
    return judged


def judge_ratio(ratio: LatencyRatio, tolerance: float, seconds: float = 0.0) -> LatencyJudgement:
    """Judges a ratio over loads that was measured before.

    Args:
        ratio: The artifact's time over the baseline's.
        tolerance: Share by which it may be slower.
        seconds: Time that measuring took.

    Raises:
        ValueError: If the tolerance is negative.
    """
    from scipy.special import ndtri, stdtrit

    if tolerance < 0:
        raise ValueError(f"a tolerance of {tolerance} cannot be")
    limit = math.log1p(tolerance)
    centre, low, high = (math.log(item) for item in (ratio.median_ratio, ratio.low, ratio.high))
    quantile = float(stdtrit(ratio.loads - 1, 0.5 + ratio.confidence / 2))
    error = (high - low) / (2 * quantile)
    effect = math.expm1(limit + (quantile + float(ndtri(POWER))) * error)
    verdict = Verdict.CANNOT_TELL
    if low > limit:
        verdict = Verdict.FAIL
    elif high < limit:
        verdict = Verdict.PASS
    needed = None
    distance = abs(centre - limit)
    if verdict is Verdict.CANNOT_TELL and distance > 1e-6:
        needed = max(ratio.loads + 1, math.ceil(ratio.loads * ((high - low) / 2 / distance) ** 2))
    return LatencyJudgement(verdict, ratio, effect, needed, seconds)


def _run_time(loader: Loader) -> float:
    """Seconds of one run, after it became stable."""
    with loader() as run:
        warm_up(run, _WARMUP_RUNS)
        times = []
        for _ in range(MIN_PAIRS):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return max(min(times), 1e-7)


def _pairs(run_s: float, budget_s: float) -> int:
    """Pairs in a load, so that the second look still falls into the budget where it can."""
    affordable = budget_s / LOOKS[1] / (2 * run_s) - _WARMUP_RUNS
    return int(min(MAX_PAIRS, max(MIN_PAIRS, affordable)))


def _repeated(loader: Loader, repeats: int) -> Loader:
    """The same, but a run of it is several."""
    if repeats == 1:
        return loader

    @contextmanager
    def loaded() -> Iterator[Runnable]:
        with loader() as run:
            yield _times(run, repeats)

    return loaded


def _times(run: Runnable, repeats: int) -> Callable[[], None]:
    def several() -> None:
        for _ in range(repeats):
            run()

    return several


def _of_one_run(ratio: LatencyRatio, repeats: int) -> LatencyRatio:
    update = {"a_p50_ms": ratio.a_p50_ms / repeats, "b_p50_ms": ratio.b_p50_ms / repeats}
    return ratio.model_copy(update=update)
