"""Accuracy of two models on the same samples: what changed, and whether it may be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from statistics import NormalDist

from edgekit.core.model_base import FrozenModel

_EXACT_FLIPS = 1000
"""Up to so many flips the p-value is a sum of whole numbers; beyond, of logarithms."""


class PairedAccuracy(FrozenModel):
    """A model beside its parent on the same samples.

    Attributes:
        n: Samples.
        gained: Samples that only the model has right.
        lost: Samples that only the parent has right.
        changed: Samples for which the two predict different classes, right or not.
        difference: Accuracy of the model less that of the parent, a share.
        low: Lower end of the interval of ``difference``.
        high: Upper end of it.
        confidence: Coverage of the interval.
        p: Two-sided exact McNemar p-value: how often chance alone would part the flips as
            unevenly, were both models equally accurate.
    """

    n: int
    gained: int
    lost: int
    changed: int
    difference: float
    low: float
    high: float
    confidence: float = 0.95
    p: float

    @classmethod
    def of(
        cls,
        parent: Sequence[int],
        model: Sequence[int],
        targets: Sequence[int],
        confidence: float = 0.95,
    ) -> PairedAccuracy:
        """Compares predictions sample by sample.

        The interval is the adjusted Wald interval of A. Agresti and Y. Min (Simple improved
        confidence intervals for comparing matched proportions, Statistics in Medicine 24, 2005):
        half a sample is added to each of the four cells.

        Args:
            parent: Class predicted by the parent for each sample.
            model: Class predicted by the model.
            targets: True class.
            confidence: Coverage of the interval.

        Raises:
            ValueError: If the three are not equally long, or empty.
        """
        if not len(parent) == len(model) == len(targets) or not len(targets):
            raise ValueError(
                f"{len(parent)} and {len(model)} predictions of {len(targets)} samples cannot be "
                "paired"
            )
        gained = lost = changed = 0
        for before, after, target in zip(parent, model, targets, strict=True):
            changed += before != after
            gained += before != target and after == target
            lost += before == target and after != target
        return cls.of_flips(len(targets), gained, lost, changed, confidence)

    @classmethod
    def of_flips(
        cls, n: int, gained: int, lost: int, changed: int, confidence: float = 0.95
    ) -> PairedAccuracy:
        """The same from counts.

        Raises:
            ValueError: If the counts do not go together.
        """
        if n <= 0 or min(gained, lost) < 0 or not gained + lost <= changed <= n:
            raise ValueError(
                f"{gained} gained and {lost} lost of {changed} changed and {n} samples cannot be"
            )
        low, high = _interval(n, gained, lost, confidence)
        return cls(
            n=n,
            gained=gained,
            lost=lost,
            changed=changed,
            difference=(gained - lost) / n,
            low=low,
            high=high,
            confidence=confidence,
            p=mcnemar_p(gained, lost),
        )


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided exact p-value of McNemar's test.

    Q. McNemar (Psychometrika 12, 1947); exact as the binomial test of ``gained`` of
    ``gained + lost`` against one half.

    Raises:
        ValueError: If a count is negative.
    """
    if min(gained, lost) < 0:
        raise ValueError(f"{gained} and {lost} flips cannot be")
    flips, fewer = gained + lost, min(gained, lost)
    if flips <= _EXACT_FLIPS:
        tail = sum(math.comb(flips, count) for count in range(fewer + 1))
        return float(min(Fraction(1), Fraction(2 * tail, 2**flips)))
    logs = (
        math.lgamma(flips + 1)
        - math.lgamma(count + 1)
        - math.lgamma(flips - count + 1)
        - flips * math.log(2)
        for count in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(item) for item in logs))


def _interval(n: int, gained: int, lost: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre = (gained - lost) / (n + 2)
    spread = (gained + lost + 1) - (gained - lost) ** 2 / (n + 2)
    half = z * math.sqrt(spread) / (n + 2)
    return max(-1.0, centre - half), min(1.0, centre + half)
