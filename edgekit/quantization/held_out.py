"""Calibration batches divided into those that fit parameters and those that judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edgekit.quantization.calibration import Feeds


class HeldOutSplit:
    """Every n-th batch judges, the others fit; with fewer than n batches all do both.

    Attributes:
        every: The n above; 0 lets all batches do both.
        batches: Number of batches; 0 before the first pass.
    """

    def __init__(self, feeds: Callable[[], Iterator[Feeds]], every: int) -> None:
        """Takes a source that gives the same batches each time.

        Args:
            feeds: Starts a new pass.
            every: The n above, at least 2; 0 lets all batches do both.
        """
        self._feeds = feeds
        self.every = every
        self.batches = 0

    @property
    def divided(self) -> bool:
        """Whether some batches judge that did not fit; known after the first pass."""
        return 0 < self.every <= self.batches

    def fitting(self) -> Iterator[Feeds]:
        """A pass over the batches that fit."""
        count = 0
        for index, batch in enumerate(self._feeds()):
            count = index + 1
            if not self.every or index % self.every != self.every - 1:
                yield batch
        self.batches = max(self.batches, count)

    def judging(self) -> Iterator[Feeds]:
        """A pass over the batches that judge; `fitting` must have been gone through."""
        for index, batch in enumerate(self._feeds()):
            if not self.divided or index % self.every == self.every - 1:
                yield batch
