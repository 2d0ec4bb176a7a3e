"""Differences of a tensor from its reference, summed up over samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.layer_error import ErrorFigures, OwnErrorParts
from edgekit.core.observation import Steps

type Array = npt.NDArray[Any]


class ErrorMeter:
    """Takes in pairs of arrays of equal shape; sums are float64.

    Attributes:
        elements: Elements taken in.
        not_finite: Elements that are NaN or infinite on one side alone; they count for nothing
            else.
    """

    def __init__(self) -> None:
        self.elements = 0
        self.not_finite = 0
        self._signal = 0.0
        self._other = 0.0
        self._product = 0.0
        self._noise = 0.0
        self._largest = 0.0

    def update(self, reference: Array, value: Array) -> None:
        """Takes in one sample's arrays."""
        wanted, got = reference.astype(np.float64).ravel(), value.astype(np.float64).ravel()
        self.elements += wanted.size
        finite = np.isfinite(wanted) & np.isfinite(got)
        if not finite.all():
            self.not_finite += int((np.isfinite(wanted) != np.isfinite(got)).sum())
            wanted, got = wanted[finite], got[finite]
        difference = got - wanted
        self._signal += float(wanted @ wanted)
        self._other += float(got @ got)
        self._product += float(wanted @ got)
        self._noise += float(difference @ difference)
        self._largest = max(self._largest, float(np.abs(difference).max(initial=0.0)))

    @property
    def noise(self) -> float:
        """Mean square of the difference."""
        return self._noise / max(self.elements, 1)

    @property
    def signal(self) -> float:
        """Mean square of the reference."""
        return self._signal / max(self.elements, 1)

    def figures(self, scale: float | None) -> ErrorFigures:
        """The figures over all that was taken in.

        Args:
            scale: Step of the tensor's integers; None where it is not quantized.
        """
        norm = float(np.sqrt(self._signal * self._other))
        return ErrorFigures(
            sqnr_db=decibels(self._signal, self._noise),
            max_abs=self._largest,
            cosine=min(self._product / norm, 1.0) if norm > 0 else None,
            lsb=None if scale is None else self._largest / scale,
            noise=self.noise,
        )


def decibels(signal: float, noise: float) -> float | None:
    """``10 log10(signal / noise)``; None where one of them is 0."""
    if signal <= 0 or noise <= 0:
        return None
    return float(10 * np.log10(signal / noise))


class PartsMeter:
    """Splits the own error of a quantized tensor into rounding, clipping and computation.

    Args:
        steps: Integers of the tensor.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self._rounding = self._clipping = self._computation = 0.0
        self._outside = self._elements = self._samples = 0
        self._ends: Array = np.zeros(2, np.int64)
        self.low, self.high = 0.0, 0.0

    def update(self, reference: Array, value: Array, samples: int = 1) -> None:
        """Takes in the arrays of one run; elements that are not finite count for nothing.

        Args:
            reference: What the reference computes of the same inputs.
            value: What the artifact does.
            samples: Samples in the run, along the first axis where it is as long.
        """
        finite = np.isfinite(reference) & np.isfinite(value)
        wanted, got = reference[finite].astype(np.float64), value[finite].astype(np.float64)
        low, high = self._steps.bounds
        best = self._steps.nearest(wanted).astype(np.float64)
        clipped = np.clip(wanted, low, high)
        self._rounding += float(np.sum((best - clipped) ** 2))
        self._clipping += float(np.sum((clipped - wanted) ** 2))
        self._computation += float(np.sum((got - best) ** 2))
        # Less than half a step outside is rounded, not clipped.
        margin = self._steps.scale / 2
        self._outside += int(((wanted < low - margin) | (wanted > high + margin)).sum())
        rows = samples if reference.ndim and reference.shape[0] == samples else 1
        by_sample = np.where(finite, reference, 0.0).reshape(rows, -1)
        self._samples += rows
        self._ends += (
            int((by_sample.min(axis=1, initial=0.0) < low - margin).sum()),
            int((by_sample.max(axis=1, initial=0.0) > high + margin).sum()),
        )
        self._elements += wanted.size
        self.widen(wanted)

    def widen(self, reference: Array) -> None:
        """Takes in what the reference has end to end, which the integers should reach as well.

        On inputs that the artifact expresses wrongly, the reference's results are others.
        """
        finite = reference[np.isfinite(reference)]
        self.low = min(self.low, float(finite.min(initial=0.0)))
        self.high = max(self.high, float(finite.max(initial=0.0)))

    def parts(self, needed_step: float | None) -> OwnErrorParts:
        """The parts over all that was taken in.

        Args:
            needed_step: Smallest step with which the integers reach all of the reference's
                values; None where that tells nothing.
        """
        count = max(self._elements, 1)
        ratio = None
        if needed_step is not None and needed_step > 0 and not self._steps.prescribed:
            ratio = self._steps.scale / needed_step
        return OwnErrorParts(
            rounding=self._rounding / count,
            clipping=self._clipping / count,
            computation=self._computation / count,
            clipped_share=self._outside / count,
            clipped_samples=float(self._ends.max()) / max(self._samples, 1),
            step_ratio=ratio,
        )


def needed_step(steps: Steps, low: float, high: float) -> float:
    """Smallest step with which integers of this zero point reach from ``low`` to ``high``.

    Args:
        steps: The integers.
        low: Lowest value, at most 0.
        high: Highest value, at least 0.

    Returns:
        0 where no step is needed: the tensor is 0 throughout.
    """
    limits = np.iinfo(steps.dtype)
    above, below = int(limits.max) - steps.zero_point, steps.zero_point - int(limits.min)
    needed = [0.0]
    if above > 0:
        needed.append(high / above)
    if below > 0:
        needed.append(-low / below)
    return max(needed)
