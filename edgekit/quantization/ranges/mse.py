"""The range with the least mean squared quantization error."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.core.quant import ActivationScheme, ScaleFormat
from edgekit.quantization.affine import affine_parameters
from edgekit.quantization.histogram import StreamingHistogram
from edgekit.quantization.parameters import ValueRange

_SHRINKS = np.linspace(1.0, 0.1, 91)
_ROUNDS = 2


def mse_range(
    histogram: StreamingHistogram,
    bounds: ValueRange,
    scheme: ActivationScheme,
    scale_format: ScaleFormat = "float32",
) -> ValueRange:
    """Searches ranges within ``bounds`` for the least error of the histogram.

    First both bounds shrink together, then each alone, twice.

    Args:
        histogram: Of at least one element.
        bounds: Lowest and highest element.
        scheme: Bits and symmetry of the integers.
        scale_format: Format of the scale.
    """
    occupied = histogram.counts > 0
    centers, counts = histogram.centers()[occupied], histogram.counts[occupied]
    # The outermost bins reach beyond the elements they hold.
    centers = np.clip(centers, bounds.low, bounds.high)

    def error(low: float, high: float) -> float:
        return expected_error(
            centers, counts, histogram.width, ValueRange(low, high), scheme, scale_format
        )

    low, high = min(bounds.low, 0.0), max(bounds.high, 0.0)
    errors = [error(low * shrink, high * shrink) for shrink in _SHRINKS]
    best = float(_SHRINKS[int(np.argmin(errors))])
    chosen_low, chosen_high = low * best, high * best
    if low == 0.0 or high == 0.0:
        return ValueRange(chosen_low, chosen_high)
    for _ in range(_ROUNDS):
        errors = [error(low * shrink, chosen_high) for shrink in _SHRINKS]
        chosen_low = low * float(_SHRINKS[int(np.argmin(errors))])
        errors = [error(chosen_low, high * shrink) for shrink in _SHRINKS]
        chosen_high = high * float(_SHRINKS[int(np.argmin(errors))])
    return ValueRange(chosen_low, chosen_high)


def expected_error(
    centers: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    width: float,
    candidate: ValueRange,
    scheme: ActivationScheme,
    scale_format: ScaleFormat = "float32",
) -> float:
    """Mean squared error of elements at ``centers`` when ``candidate`` is represented.

    Where the step between integers is no wider than a bin, the place within a step is not
    known; the error inside the range is then that of evenly spread elements, step²/12.
    """
    affine = affine_parameters(candidate.low, candidate.high, scheme, scale_format)
    lowest, highest = affine.limits
    integers = np.rint(centers / affine.scale) + affine.zero_point
    clipped = np.clip(integers, lowest, highest)
    error = centers - (clipped - affine.zero_point) * affine.scale
    if affine.scale <= width:
        error = np.where(clipped == integers, affine.scale / np.sqrt(12.0), error)
    return float(np.sum(counts * error**2) / counts.sum())
