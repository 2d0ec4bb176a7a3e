"""The verdict on accuracy: non-inferiority by flips on the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.gate.verdict import Verdict

POWER = 0.9
"""Share of cases in which the minimum effect that is told would be found."""

RESOLUTION = 0.005
"""Loss, a share, that unchanged predictions have to exclude where the margin is smaller still: no
number of samples excludes a loss of any size."""


@dataclass(frozen=True, slots=True)
class AccuracyJudgement:
    """A verdict on accuracy.

    Attributes:
        verdict: Pass when the interval of the difference lies above minus the margin; fail when
            it lies below and McNemar's test agrees; otherwise cannot tell. Where no prediction
            changed, it passes when the interval excludes a loss of the margin or of half a
            point, whichever is larger: on a handful of samples no change proves nothing.
        minimum_effect: Loss of accuracy, a share, that would have failed in nine of ten cases.
        needed: Samples that would tell if the flips go on as they are; None for a verdict that
            stands, and where the difference is the margin.
    """

    verdict: Verdict
    minimum_effect: float
    needed: int | None


def judge_accuracy(
    paired: PairedAccuracy, margin: float, *, identical: bool = False
) -> AccuracyJudgement:
    """Judges a model beside its baseline.

    Args:
        paired: Flips on the same samples, the baseline as parent.
        margin: Loss that is accepted, a share (0.005 is half a point).
        identical: Whether both are the same file, so that unchanged predictions were no chance.

    Raises:
        ValueError: If the margin is negative.
    """
    if margin < 0:
        raise ValueError(f"a margin of {margin} cannot be")
    z = NormalDist().inv_cdf(0.5 + paired.confidence / 2)
    error = (paired.high - paired.low) / (2 * z)
    # Of the smallest loss that fails, the upper end of the interval lies below the margin.
    effect = margin + (z + NormalDist().inv_cdf(POWER)) * error
    verdict = _verdict(paired, margin, identical)
    needed = None
    if verdict is Verdict.CANNOT_TELL:
        needed = _needed(paired, margin, z)
    return AccuracyJudgement(verdict, effect, needed)


def _verdict(paired: PairedAccuracy, margin: float, identical: bool) -> Verdict:
    limit = margin if paired.changed else max(margin, RESOLUTION)
    if paired.low > -limit or (identical and not paired.changed):
        return Verdict.PASS
    if paired.high < -margin and paired.p < 1 - paired.confidence:
        return Verdict.FAIL
    return Verdict.CANNOT_TELL


def _needed(paired: PairedAccuracy, margin: float, z: float) -> int | None:
    if not paired.changed:
        # The interval of no flips in n samples reaches z / (n + 2) down.
        return max(paired.n + 1, math.ceil(z / max(margin, RESOLUTION)))
    distance = abs(paired.difference + margin)
    spread = (paired.gained + paired.lost + 1) / (paired.n + 2) - paired.difference**2
    if distance < 1e-9:
        return None
    return max(paired.n + 1, math.ceil(spread * (z / distance) ** 2))
