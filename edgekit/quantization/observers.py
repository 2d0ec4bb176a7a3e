"""What is kept of the elements of a tensor while calibration data passes by."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgekit.quantization.affine import FloatArray
from edgekit.quantization.histogram import StreamingHistogram
from edgekit.quantization.parameters import ValueRange

type State = dict[str, npt.NDArray[Any]]


class Observer(abc.ABC):
    """Statistics of fixed size.

    Attributes:
        name: Key of the observer in a saved state.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def update(self, values: FloatArray) -> None:
        """Takes in the elements of one batch: at least one, all finite."""

    @abc.abstractmethod
    def state(self) -> State:
        """Everything kept, to be saved."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continues from a saved state."""


class MinMaxObserver(Observer):
    """Lowest and highest element of all batches."""

    name = "minmax"

    def __init__(self) -> None:
        self.low, self.high = np.inf, -np.inf

    def update(self, values: FloatArray) -> None:
        """See the base class."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)

    def range(self) -> ValueRange:
        """Lowest and highest element."""
        return ValueRange(self.low, self.high)

    def state(self) -> State:
        """See the base class."""
        return {"bounds": np.array([self.low, self.high])}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """See the base class."""
        self.low, self.high = (float(item) for item in state["bounds"])


class MovingAverageObserver(Observer):
    """Moving average of the batches' lowest and highest elements.

    ``average += rate * (batch - average)``, starting from the first batch.
    """

    name = "moving-average"

    def __init__(self, rate: float = 0.1) -> None:
        """Sets the weight of a new batch.

        Args:
            rate: Between 0 and 1.
        """
        self.rate = rate
        self.bounds: tuple[float, float] | None = None

    def update(self, values: FloatArray) -> None:
        """See the base class."""
        new = float(values.min()), float(values.max())
        if self.bounds is None:
            self.bounds = new
            return
        low, high = (
            old + self.rate * (item - old) for old, item in zip(self.bounds, new, strict=True)
        )
        self.bounds = low, high

    def range(self) -> ValueRange:
        """The averages."""
        return ValueRange(*(self.bounds or (0.0, 0.0)))

    def state(self) -> State:
        """See the base class."""
        return {"bounds": np.array(self.bounds or ())}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """See the base class."""
        bounds = [float(item) for item in state["bounds"]]
        self.bounds = (bounds[0], bounds[1]) if bounds else None


class HistogramObserver(Observer):
    """Counts of all elements; see `StreamingHistogram`."""

    name = "histogram"

    def __init__(self) -> None:
        self.histogram = StreamingHistogram()

    def update(self, values: FloatArray) -> None:
        """See the base class."""
        self.histogram.update(values)

    def state(self) -> State:
        """See the base class."""
        exponent = self.histogram.exponent
        return {
            "counts": self.histogram.counts,
            "exponent": np.array([] if exponent is None else [exponent], np.int64),
        }

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """See the base class."""
        self.histogram.counts = state["counts"].astype(np.int64)
        exponent = state["exponent"]
        self.histogram.exponent = int(exponent[0]) if exponent.size else None
