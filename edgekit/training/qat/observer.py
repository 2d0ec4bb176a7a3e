"""Watching the range of activations."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgekit.core.quant import ScaleFormat
from edgekit.quantization.affine import rounded_scales

_WITHOUT_ZERO_POINT = -(1 << 15)
"""Lowest integer of 16-bit activations, which are symmetric."""


class RangeObserver:
    """Follows lowest and highest values over training steps.

    A quantizer that several tensors share is called several times in a step; the range of a
    step is that of all of them together.

    Attributes:
        range: Lowest and highest value after the last step; None before the first.
    """

    def __init__(self, start: tuple[float, float] | None, momentum: float, *, union: bool) -> None:
        """Begins with a range.

        Args:
            start: Range to begin with; None takes that of the first step.
            momentum: Share of a new step in the moving average.
            union: Keep the extremes of all steps instead of an average.
        """
        self.range = start
        self._momentum = momentum
        self._union = union
        self._step: tuple[float, float] | None = None

    @torch.no_grad()
    def record(self, x: Tensor, clamp: tuple[float, float] | None = None) -> None:
        """Takes the range of one tensor, clamped; an empty one has none."""
        if not x.numel():
            return
        low, high = (float(bound) for bound in torch.aminmax(x.detach()))
        if clamp is not None:
            low, high = (min(max(bound, clamp[0]), clamp[1]) for bound in (low, high))
        if self._step is not None:
            low, high = min(low, self._step[0]), max(high, self._step[1])
        self._step = low, high

    def end_step(self) -> tuple[float, float] | None:
        """The range after this step; None before anything was recorded."""
        if self._step is not None:
            old, new = self.range, self._step
            if old is None:
                self.range = new
            elif self._union:
                self.range = min(old[0], new[0]), max(old[1], new[1])
            else:
                share = self._momentum
                self.range = (
                    old[0] + share * (new[0] - old[0]),
                    old[1] + share * (new[1] - old[1]),
                )
            self._step = None
        return self.range


def affine_of_range(
    low: float, high: float, lowest: int, highest: int, scale_format: ScaleFormat = "float32"
) -> tuple[float, int]:
    """Scale and zero point that represent ``[low, high]`` and exactly 0.

    Args:
        low: Lowest real number; taken as 0 when positive.
        high: Highest real number; taken as 0 when negative.
        lowest: Lowest integer; that of 16 bits stands for a zero point of 0.
        highest: Highest integer.
        scale_format: Format that represents the scale.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = 1.0
    if lowest == _WITHOUT_ZERO_POINT:
        return _rounded(max(-low, high) / highest, scale_format), 0
    scale = _rounded((high - low) / (highest - lowest), scale_format)
    return scale, int(np.clip(np.rint(lowest - low / scale), lowest, highest))


def _rounded(scale: float, scale_format: ScaleFormat) -> float:
    return float(rounded_scales(np.asarray(scale), scale_format))
