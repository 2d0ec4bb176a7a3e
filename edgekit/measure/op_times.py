"""Times of operators over several loads of an artifact, as figures with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgekit.core.op_profile import (
    CONFIDENCE,
    Estimate,
    OpFacts,
    OpProfile,
    ProfileConfig,
    ProfiledOp,
    ProfileTotal,
)
from edgekit.measure.device import device_name

KEPT_SHARE = 0.5
"""Share of the runs of a load that counts: the fastest, by the whole time of the run. What else
the machine does can only add to a run, and adds to whatever operator it happens to strike."""

COARSE_FROM = 0.2
"""Share of the sum that the clock's step may hide before a note says so."""

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class OpTimes:
    """What one load of an artifact gave.

    Attributes:
        ops_us: Time of each operator in each profiled run, ``float64[runs, operators]``.
        profiled_us: Whole time of each profiled run, ``float64[runs]``.
        latency_us: Whole time of each run without profiler, ``float64[runs]``.
        unsure_us: Most that the step of the clock can have left wrong in each operator's mean
            time, ``float64[operators]``; see `restore_cut`.
    """

    ops_us: Floats
    profiled_us: Floats
    latency_us: Floats
    unsure_us: Floats


@dataclass(frozen=True, slots=True)
class Conditions:
    """How a profile was taken; the fields are those of `OpProfile`."""

    target: str
    runtime: str
    method: str
    resolution_us: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Spent:
    """Time of operators in all loads.

    Attributes:
        ops_us: Of each operator in each load, ``float64[loads, operators]``.
        hidden_us: What the step of the clock may hide in each operator, ``float64[operators]``.
    """

    ops_us: Floats
    hidden_us: Floats

    @property
    def whole(self) -> Floats:
        """All operators together in each load, ``float64[loads]``."""
        return np.asarray(self.ops_us.sum(axis=1))

    def unsure(self, places: Sequence[int]) -> float:
        """What the clock may hide in some operators together."""
        return float(self.hidden_us[list(places)].sum())

    def time(self, places: Sequence[int]) -> Estimate:
        """Time of some operators together."""
        return _estimate(self._times(places), self.unsure(places))

    def share(self, places: Sequence[int]) -> Estimate:
        """Their part of the whole."""
        parts = self._times(places) / np.maximum(self.whole, 1e-9)
        # What hides in the other operators moves the share as well; of all together it is 1.
        part, unsure = float(parts.mean()), self.unsure(places)
        moved = unsure * (1 - part) + (float(self.hidden_us.sum()) - unsure) * part
        found = _estimate(parts, moved / max(float(self.whole.mean()), 1e-9))
        return found.model_copy(update={"high": min(1.0, found.high)})

    def rate(self, macs: int | None, places: Sequence[int]) -> float | None:
        """Multiply-accumulates in a nanosecond; None where the time is mostly the clock's step."""
        time_us = float(self._times(places).mean())
        return macs / time_us / 1e3 if macs and time_us > 2 * self.unsure(places) else None

    def _times(self, places: Sequence[int]) -> Floats:
        return np.asarray(self.ops_us[:, list(places)].sum(axis=1))


def summarize(
    facts: Sequence[OpFacts],
    loads: Sequence[OpTimes],
    conditions: Conditions,
    config: ProfileConfig,
) -> OpProfile:
    """The profile over all loads.

    A load's figure is the mean over the faster half of its runs, by their whole time, so that the
    operators of a run stay together and add up. The interval is Student's over the loads; where
    the clock cuts its readings it is widened by what the cut can hide.

    Raises:
        ValueError: If there are fewer than two loads.
    """
    if len(loads) < 2:
        raise ValueError(f"{len(loads)} load has no interval")
    spent = _Spent(
        np.stack([_mean_run(load.ops_us, load.profiled_us) for load in loads]),
        np.mean([load.unsure_us for load in loads], axis=0),
    )
    latency = np.array([_mean_run(load.latency_us, load.latency_us) for load in loads])
    profiled = np.array([_mean_run(load.profiled_us, load.profiled_us) for load in loads])
    every = range(len(facts))
    return OpProfile(
        target=conditions.target,
        runtime=conditions.runtime,
        device=device_name(),
        threads=config.threads,
        loads=len(loads),
        runs=len(loads[0].ops_us),
        method=conditions.method,
        resolution_us=conditions.resolution_us,
        operators=tuple(
            ProfiledOp(
                **fact.model_dump(),
                time_us=spent.time([place]),
                share=spent.share([place]),
                gmacs_per_s=spent.rate(fact.macs, [place]),
            )
            for place, fact in enumerate(facts)
        ),
        by_type=_totals(facts, lambda fact: fact.op, spent),
        by_partition=_totals(facts, lambda fact: fact.partition, spent),
        sum_us=spent.time(every),
        latency_us=_estimate(latency, 0.0),
        profiled_us=_estimate(profiled, 0.0),
        coverage=_estimate(spent.whole / latency, spent.unsure(every) / float(latency.mean())),
        notes=(*conditions.notes, *_coarse(spent, conditions.resolution_us)),
    )


def restore_cut(readings_us: Floats, resolution_us: float) -> tuple[Floats, Floats]:
    """Adds what a clock that cuts to whole steps leaves out, on average.

    A reading above zero lost half a step on average, and at most half a step more or less. One of
    zero is left alone: many are of operators that do nothing but pass a pointer on. It may have
    lost a whole step.

    Args:
        readings_us: Of one part in each run, ``float64[runs, parts]``.
        resolution_us: The step.

    Returns:
        The times, and for each part how wrong its mean over the runs can be, ``float64[parts]``.
    """
    seen = readings_us > 0
    times = readings_us + np.where(seen, resolution_us / 2, 0.0)
    return times, np.where(seen, resolution_us / 2, resolution_us).mean(axis=0)


def _coarse(spent: _Spent, resolution_us: float) -> tuple[str, ...]:
    """Says so where the clock's step is a large part of what it measured."""
    times, hidden = spent.ops_us.mean(axis=0), spent.hidden_us
    if hidden.sum() <= COARSE_FROM * times.sum():
        return ()
    below = int(((hidden > 0) & (times < resolution_us)).sum())
    note = (
        f"the clock behind the operators' times is too coarse for this model: {below} of "
        f"{len(times)} operators take less than its step of {resolution_us:g} µs, so their "
        "intervals say more than their times"
    )
    return (note,)


def _mean_run(values: Floats, whole: Floats) -> Floats:
    """Mean over the faster half of the runs."""
    kept = np.argsort(whole, kind="stable")[: math.ceil(KEPT_SHARE * len(whole))]
    return np.asarray(values[kept].mean(axis=0))


def _estimate(values: Floats, unsure: float) -> Estimate:
    from scipy.special import stdtrit

    mean = float(values.mean())
    quantile = float(stdtrit(len(values) - 1, 0.5 + CONFIDENCE / 2))
    half = quantile * float(values.std(ddof=1)) / len(values) ** 0.5 + unsure
    return Estimate(value=mean, low=max(0.0, mean - half), high=mean + half)


def _sum_of_macs(macs: list[int | None]) -> int | None:
    known = [item for item in macs if item is not None]
    return sum(known) if len(known) == len(macs) else None


def _totals(
    facts: Sequence[OpFacts], key: Callable[[OpFacts], str], spent: _Spent
) -> tuple[ProfileTotal, ...]:
    held: dict[str, list[int]] = {}
    for place, fact in enumerate(facts):
        held.setdefault(key(fact), []).append(place)
    found = []
    for name, places in held.items():
        macs = _sum_of_macs([facts[place].macs for place in places])
        total = ProfileTotal(
            key=name,
            operators=len(places),
            time_us=spent.time(places),
            share=spent.share(places),
            macs=macs,
            gmacs_per_s=spent.rate(macs, places),
        )
        found.append(total)
    return tuple(sorted(found, key=lambda item: -item.time_us.value))
