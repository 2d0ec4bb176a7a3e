"""From the statistics of some values to the range that their integers represent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edgekit.core.quant import ActivationScheme, ScaleFormat
from edgekit.quantization.histogram import StreamingHistogram
from edgekit.quantization.observers import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageObserver,
    Observer,
)
from edgekit.quantization.parameters import ValueRange
from edgekit.quantization.ranges.entropy import entropy_range
from edgekit.quantization.ranges.mse import mse_range
from edgekit.quantization.ranges.percentile import percentile_range

Method = Literal["minmax", "moving-average", "percentile", "mse", "entropy"]
METHODS: tuple[Method, ...] = ("minmax", "moving-average", "percentile", "mse", "entropy")


@dataclass(slots=True)
class ValueStatistics:
    """Observers of one value."""

    minmax: MinMaxObserver = field(default_factory=MinMaxObserver)
    average: MovingAverageObserver | None = None
    histogram: HistogramObserver | None = None

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Those that are kept."""
        every = (self.minmax, self.average, self.histogram)
        return tuple(item for item in every if item is not None)


@dataclass(frozen=True, slots=True)
class RangeRule:
    """How a range is chosen.

    Attributes:
        method: Name of the rule.
        percentile: Share of the elements that the method percentile keeps, in percent.
        scale_format: Format of the scales.
    """

    method: Method
    percentile: float = 99.99
    scale_format: ScaleFormat = "float32"

    def range_of(
        self, observed: Sequence[ValueStatistics], scheme: ActivationScheme
    ) -> ValueRange:
        """The range of values that share their parameters.

        Args:
            observed: Statistics of at least one value.
            scheme: Bits and symmetry of the integers.

        Raises:
            ValueError: If the statistics of the method were not kept.
        """
        bounds = _joined([kept.minmax.range() for kept in observed])
        if self.method == "minmax" or bounds.low == bounds.high:
            return bounds
        if self.method == "moving-average":
            return _joined([_kept(item.average, self.method).range() for item in observed])
        histogram = StreamingHistogram()
        for kept in observed:
            histogram.add(_kept(kept.histogram, self.method).histogram)
        rules: dict[str, Callable[[], ValueRange]] = {
            "percentile": lambda: percentile_range(histogram, bounds, self.percentile),
            "mse": lambda: mse_range(histogram, bounds, scheme, self.scale_format),
            "entropy": lambda: entropy_range(histogram, bounds, scheme),
        }
        return rules[self.method]()


def _joined(ranges: Sequence[ValueRange]) -> ValueRange:
    joined = ranges[0]
    for item in ranges[1:]:
        joined = joined.joined(item)
    return joined


def _kept[ObserverT](observer: ObserverT | None, method: str) -> ObserverT:
    if observer is None:
        raise ValueError(f"the statistics that {method} needs were not kept")
    return observer
