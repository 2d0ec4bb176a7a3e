"""A histogram of unlimited data in fixed memory."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from edgekit.quantization.affine import FloatArray

HALF_BINS = 2048
"""Bins on each side of zero; at least half of them lie below the largest element."""
_CHUNK = 1 << 20
_SMALLEST_EXPONENT = -1000


class StreamingHistogram:
    """Counts of elements in bins whose width is a power of two.

    Bin ``i`` holds the elements in ``[i * width, (i + 1) * width)`` for ``i`` from
    ``-HALF_BINS`` to ``HALF_BINS - 1``. When an element lies outside, the width doubles and
    neighbouring bins are added up. The width is always the smallest one that holds all
    elements, so that the counts do not depend on the order or the batches they came in.

    Attributes:
        counts: ``int64[2 * HALF_BINS]``.
        exponent: ``width == 2 ** exponent``; None before the first element that is not 0.
    """

    def __init__(self) -> None:
        self.counts: npt.NDArray[np.int64] = np.zeros(2 * HALF_BINS, np.int64)
        self.exponent: int | None = None

    @property
    def width(self) -> float:
        """Width of a bin."""
        return math.ldexp(1.0, self.exponent or 0)

    @property
    def total(self) -> int:
        """Number of elements."""
        return int(self.counts.sum())

    def centers(self) -> npt.NDArray[np.float64]:
        """Middle of each bin."""
        return self.edges()[:-1] + self.width / 2

    def edges(self) -> npt.NDArray[np.float64]:
        """Lower edge of each bin, and the upper edge of the last."""
        return np.arange(-HALF_BINS, HALF_BINS + 1, dtype=np.float64) * np.float64(self.width)

    def update(self, values: FloatArray) -> None:
        """Counts the elements of an array; all must be finite."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        self._widen(float(flat.min()), float(flat.max()))
        for start in range(0, flat.size, _CHUNK):
            part = flat[start : start + _CHUNK].astype(np.float64)
            index = np.floor(part / self.width).astype(np.int64) + HALF_BINS
            self.counts += np.bincount(index, minlength=2 * HALF_BINS)

    def add(self, other: StreamingHistogram) -> None:
        """Takes in all elements of another histogram, which stays as it is."""
        if other.exponent is None:
            self.counts[HALF_BINS] += other.counts[HALF_BINS]
            return
        widened = StreamingHistogram()
        widened.counts, widened.exponent = other.counts.copy(), other.exponent
        needed = max(
            other.exponent, self.exponent if self.exponent is not None else other.exponent
        )
        widened._widen_to(needed)
        self._widen_to(needed)
        self.counts += widened.counts

    def _widen(self, low: float, high: float) -> None:
        """Doubles the width until both numbers lie within the bins."""
        needed = max(_exponent_for(low), _exponent_for(high))
        if needed != _SMALLEST_EXPONENT:
            self._widen_to(needed)

    def _widen_to(self, needed: int) -> None:
        if self.exponent is None:
            # All elements so far were 0 and lie in the bin that starts there.
            self.exponent = needed
        while self.exponent < needed:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[:] = 0
            self.counts[HALF_BINS // 2 : HALF_BINS // 2 + HALF_BINS] = merged
            self.exponent += 1


def _exponent_for(value: float) -> int:
    """The smallest exponent of a width whose bins hold ``value``."""
    if value == 0.0:
        return _SMALLEST_EXPONENT
    mantissa, exponent = math.frexp(abs(value))
    # A negative bin is closed below, so that exactly -2**n still fits.
    fits = value < 0 and mantissa == 0.5
    return exponent - (1 if fits else 0) - int(math.log2(HALF_BINS))
