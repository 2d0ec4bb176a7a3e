"""The range that leaves out a given share of the elements."""

from __future__ import annotations

import numpy as np

from edgekit.quantization.histogram import StreamingHistogram
from edgekit.quantization.parameters import ValueRange


def percentile_range(
    histogram: StreamingHistogram, bounds: ValueRange, percentile: float
) -> ValueRange:
    """Cuts off the outermost elements on each side.

    ``(100 - percentile) / 2`` percent of the elements lie below the range and as many above
    it, with elements taken as spread evenly within their bin.

    Args:
        histogram: Of at least one element.
        bounds: Lowest and highest element.
        percentile: Share to keep, in percent, above 50 and at most 100.
    """
    tail = (100.0 - percentile) / 200.0
    cumulated = np.concatenate([[0.0], np.cumsum(histogram.counts) / histogram.total])
    # Where bins are empty the cumulated share is flat; the outer end of it is meant.
    edges = histogram.edges()
    low = _at_share(cumulated, edges, tail, upper=False)
    high = _at_share(cumulated, edges, 1.0 - tail, upper=True)
    low, high = max(low, bounds.low), min(high, bounds.high)
    return ValueRange(min(low, bounds.high), max(high, bounds.low))


def _at_share(
    cumulated: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    edges: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    share: float,
    *,
    upper: bool,
) -> float:
    """The point below which ``share`` of the elements lie."""
    if upper:
        index = int(np.searchsorted(cumulated, share, side="left"))
        index = min(max(index, 1), len(edges) - 1) - 1
    else:
        index = int(np.searchsorted(cumulated, share, side="right")) - 1
        index = min(max(index, 0), len(edges) - 2)
    mass = cumulated[index + 1] - cumulated[index]
    inside = (share - cumulated[index]) / mass if mass > 0 else float(upper)
    return float(edges[index] + min(max(inside, 0.0), 1.0) * (edges[index + 1] - edges[index]))
