"""Figures with the conditions under which they hold."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Literal

from edgekit.core.model_base import FrozenModel


class Unavailable(FrozenModel):
    """The typed answer to a request that this machine or target cannot serve.

    Attributes:
        reason: Why, in one sentence; reports print it where the figure would stand.
    """

    status: Literal["unavailable"] = "unavailable"
    reason: str


class Proportion(FrozenModel):
    """A share of successes with its Wilson score interval.

    Attributes:
        hits: Number of successes.
        n: Number of trials.
        value: ``hits / n``.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Coverage of the interval.
    """

    hits: int
    n: int
    value: float
    low: float
    high: float
    confidence: float = 0.95

    @classmethod
    def of(cls, hits: int, n: int, confidence: float = 0.95) -> Proportion:
        """Computes the Wilson score interval (E. B. Wilson, JASA 22, 1927).

        Raises:
            ValueError: If ``n`` is not positive or ``hits`` is outside 0..n.
        """
        if n <= 0 or not 0 <= hits <= n:
            raise ValueError(f"{hits} hits of {n} is no proportion")
        z = NormalDist().inv_cdf(0.5 + confidence / 2)
        share = hits / n
        scale = 1 + z * z / n
        centre = (share + z * z / (2 * n)) / scale
        half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return cls(
            hits=hits,
            n=n,
            value=share,
            low=max(0.0, centre - half),
            high=min(1.0, centre + half),
            confidence=confidence,
        )


class AccuracyReport(FrozenModel):
    """Accuracy of one artifact on one data set.

    Attributes:
        dataset: Name of the data set with its split, for example ``"digits/test"``.
        top1: Share of samples whose best class is the label.
        top5: Share whose label is among the five best; None with fewer than six classes.
        predictions_digest: sha256 over the predicted class of every sample in order, so that
            two artifacts can be seen to agree on every sample.
        runtime: Runtime and version that computed it.
    """

    dataset: str
    top1: Proportion
    top5: Proportion | None
    predictions_digest: str
    runtime: str


class LatencyStats(FrozenModel):
    """Latency of one artifact with its conditions; all times in milliseconds.

    Attributes:
        p50_ms: Median of the measured runs.
        p90_ms: 90th percentile.
        mean_ms: Arithmetic mean.
        min_ms: Fastest run.
        runs: Number of measured runs.
        warmup_runs: Runs before them that were not counted.
        threads: Threads given to the runtime.
        batch: Samples in one run.
        runtime: Runtime and version.
        device: Processor, as the operating system names it.
        peak_memory_bytes: Highest resident memory of a fresh process that loads and runs the
            artifact, less that of the same process before loading; None when not measured.
        notes: What a reader must know besides, such as why a figure is missing or that the
            latency did not settle.
    """

    p50_ms: float
    p90_ms: float
    mean_ms: float
    min_ms: float
    runs: int
    warmup_runs: int
    threads: int
    batch: int
    runtime: str
    device: str
    peak_memory_bytes: int | None = None
    notes: tuple[str, ...] = ()


class OutputDifference(FrozenModel):
    """Difference of one output from the reference runtime.

    Attributes:
        output: Name of the output.
        max_abs: Largest absolute difference.
        reference_range: Largest minus smallest reference value.
        relative: ``max_abs / reference_range``, or ``max_abs`` over the largest absolute
            reference value where the reference is constant.
    """

    output: str
    max_abs: float
    reference_range: float
    relative: float
