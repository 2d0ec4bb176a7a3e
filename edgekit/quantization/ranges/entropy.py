"""The range that loses the least information: minimal Kullback-Leibler divergence.

S. Migacz, "8-bit inference with TensorRT", GPU Technology Conference 2017, here with
asymmetric ranges: both bounds shrink together.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.core.quant import ActivationScheme
from edgekit.quantization.affine import affine_parameters
from edgekit.quantization.histogram import StreamingHistogram
from edgekit.quantization.parameters import ValueRange

_SHRINKS = np.linspace(1.0, 0.1, 91)

_SMOOTHING = 1e-4

type Counts = npt.NDArray[np.float64]


def entropy_range(
    histogram: StreamingHistogram, bounds: ValueRange, scheme: ActivationScheme
) -> ValueRange:
    """The range with the least divergence between the elements and their quantized form.

    Args:
        histogram: Of at least one element.
        bounds: Lowest and highest element.
        scheme: Bits and symmetry of the integers.
    """
    low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)
    centers, counts = histogram.centers(), histogram.counts.astype(np.float64)
    divergences = [
        divergence(centers, counts, ValueRange(low * shrink, high * shrink), scheme)
        for shrink in _SHRINKS
    ]
    best = float(_SHRINKS[int(np.argmin(divergences))])
    return ValueRange(low * best, high * best)


def divergence(
    centers: npt.NDArray[np.float64],
    counts: Counts,
    candidate: ValueRange,
    scheme: ActivationScheme,
) -> float:
    """``KL(P || Q)`` in nats; infinite when no element lies inside the range.

    P are the elements, those outside the range moved to its outermost bins. Q are the
    elements inside alone, the mass of each integer spread evenly over the bins that it
    covers and that P occupies; a ten-thousandth of it is spread over all these bins, so that
    a few elements moved into an empty bin do not make the divergence infinite.
    """
    affine = affine_parameters(candidate.low, candidate.high, scheme)
    low, high = affine.bounds
    half = affine.scale / 2
    inside = np.flatnonzero((centers >= low - half) & (centers <= high + half))
    if not inside.size:
        return float("inf")
    first, last = inside[0], inside[-1]
    slice_counts = counts[first : last + 1]
    reference = slice_counts.copy()
    reference[0] += counts[:first].sum()
    reference[-1] += counts[last + 1 :].sum()
    integers = np.rint(centers[first : last + 1] / affine.scale).astype(np.int64)
    level = integers - integers[0]
    occupied = reference > 0
    mass = np.bincount(level, weights=slice_counts)
    bins = np.bincount(level, weights=occupied.astype(np.float64))
    spread = np.where(occupied, mass[level] / np.maximum(bins[level], 1.0), 0.0)
    if spread.sum() == 0:
        return float("inf")
    p = reference[occupied] / reference.sum()
    q = (1 - _SMOOTHING) * spread[occupied] / spread.sum() + _SMOOTHING / len(p)
    return float(np.sum(p * np.log(p / q)))
