"""Fake quantization whose parameters follow the data or are learned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from edgekit.core.quant import ScaleFormat
from edgekit.graph.torch_twin.affine_function import fake_quantize, learned_fake_quantize
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.quantization.affine import rounded_scales
from edgekit.training.qat.observer import RangeObserver, affine_of_range

State = Literal["frozen", "observing", "following", "learning"]
"""frozen: nothing changes; observing: the range of activations is recorded; following: the
scale is that of the largest weight; learning: the scale is trained."""
_SCALE_FLOOR = 2.0**-40


@dataclass(frozen=True, slots=True)
class QuantizerOptions:
    """How one quantizer gets its parameters.

    Attributes:
        source: ``"calibrated"`` keeps what it starts with; ``"minmax"`` and ``"ema"`` watch
            activations, ``"minmax"`` follows weights; ``"learned"`` trains the scale.
        momentum: Share of a new step in the moving average.
        scale_format: Format that represents every scale at every moment.
    """

    source: Literal["calibrated", "minmax", "ema", "learned"]
    momentum: float = 0.05
    scale_format: ScaleFormat = "float32"


def rounded_to_format(scale: Tensor, scale_format: ScaleFormat) -> Tensor:
    """Scales as a shorter format represents them, rounded up; float32 ones stay as they are."""
    if scale_format == "float32":
        return scale
    short = rounded_scales(scale.detach().cpu().numpy(), scale_format)
    return torch.from_numpy(np.array(short, np.float32)).to(scale.device)


class TrainableFakeQuantize(FakeQuantize):
    """Takes the place of a `FakeQuantize` while training.

    A learned scale is ``s = s0 * exp(t)`` with the trained ``t``: it stays positive, equal
    steps are equal ratios whatever the size of ``s``, and ``t = 0`` is exactly the graph's
    scale. Its gradient is that of learned step size quantization (Esser et al., ICLR 2020),
    with their factor ``1 / sqrt(n * highest integer)`` on ``dL/ds``, where ``n`` is the number
    of elements that share the scale; rounding ``s`` to a shorter format counts as the identity.
    Zero points are observed, not learned. Parameters that
    the graph demands (``fixed``) never change.

    Attributes:
        state: What happens with the parameters at present.
        log_factor: ``t``; trained only in the state ``"learning"``.
    """

    log_factor: nn.Parameter

    def __init__(self, source: FakeQuantize, options: QuantizerOptions) -> None:
        super().__init__(
            source.scale, source.zero_point, (source.low, source.high),
            axis=source.axis, block=source.block, fixed=source.fixed, role=source.role,
        )  # fmt: skip
        self.options = options
        self.state: State = "frozen"
        self.log_factor = nn.Parameter(torch.zeros_like(self.scale), requires_grad=False)
        self._observer: RangeObserver | None = None

    def observe(self) -> None:
        """Begins to follow the data, where the options say so."""
        if self.fixed or self.options.source == "calibrated":
            return
        if self.role == "weight":
            self.state = "following" if self.options.source == "minmax" else "frozen"
            return
        if self.axis is None:
            momentum = 1.0 if self.options.source == "minmax" else self.options.momentum
            keep = self.options.source == "minmax"
            start = self.real_range() if not keep else None
            self._observer = RangeObserver(start, momentum, union=keep)
            self.state = "observing"

    def learn(self) -> None:
        """Ends observing; from now on the scale is trained, where the options say so."""
        if self.state == "observing":
            self._stop_observing()
        if self.options.source == "learned" and not self.fixed:
            self.state = "learning"
            self.log_factor.requires_grad_(True)

    def freeze(self) -> None:
        """Keeps the parameters as they are now."""
        if self.state == "observing":
            self._stop_observing()
        with torch.no_grad():
            self.scale.copy_(self.current()[0])
            self.log_factor.zero_()
        self.log_factor.requires_grad_(False)
        self.state = "frozen"

    def phase(self) -> dict[str, Any]:
        """What an interrupted training needs besides the tensors of ``state_dict``."""
        seen = None if self._observer is None else self._observer.range
        return {"state": self.state, "range": seen}

    def resume(self, phase: Mapping[str, Any]) -> None:
        """Goes on in the phase that another instance was in between two steps."""
        self.state = phase["state"]
        self.log_factor.requires_grad_(self.state == "learning")
        if self.state != "observing":
            self._observer = None
        elif self._observer is not None:
            self._observer.range = phase["range"]

    def _stop_observing(self) -> None:
        self._observer = None
        self.state = "frozen"

    def real_range(self) -> tuple[float, float]:
        """Lowest and highest real number of a per-tensor quantizer."""
        scale, zero = float(self.scale), float(self.zero_point)
        return (self.low - zero) * scale, (self.high - zero) * scale

    def current(self) -> tuple[Tensor, Tensor]:
        """See `FakeQuantize.current`."""
        if self.state != "learning":
            return self.scale, self.zero_point
        with torch.no_grad():
            return self._rounded(self.scale * torch.exp(self.log_factor)), self.zero_point

    def _rounded(self, scale: Tensor) -> Tensor:
        return rounded_to_format(scale, self.options.scale_format)

    def forward(self, x: Tensor, clamp: tuple[float, float] | None = None) -> Tensor:
        """See `FakeQuantize.forward`; in training mode the data is observed first.

        Args:
            x: What is rounded.
            clamp: Bounds between which ``x`` is clamped before anything else, as the Relu or
                Clip in front of the quantizer does.
        """
        if self.state == "observing" and self.training and self._observer is not None:
            self._observer.record(x, clamp)
        elif self.state == "following":
            self._follow(x)
        if self.state != "learning":
            rounding = self.rounding if clamp is None else replace(self.rounding, clamp=clamp)
            return fake_quantize(x, self.scale, self.zero_point, rounding)
        if clamp is not None and clamp[1] != math.inf:
            # A value at the upper bound stays there whatever the scale, unlike one that the
            # highest integer stops; only the clamp itself can tell them apart.
            x, clamp = torch.clamp(x, *clamp), None
        rounding = replace(self.rounding, clamp=clamp, factor=self._gradient_factor(x))
        scale, zero_point = self.current()
        return learned_fake_quantize(x, scale, zero_point, self.log_factor, rounding)

    def end_step(self) -> None:
        """Takes over what was observed in all calls since the last step."""
        if self.state != "observing" or self._observer is None:
            return
        found = self._observer.end_step()
        if found is None:
            return
        limits = self.low, self.high
        scale, zero_point = affine_of_range(*found, *limits, self.options.scale_format)
        self.scale.fill_(scale)
        self.zero_point.fill_(zero_point)

    @torch.no_grad()
    def _follow(self, weight: Tensor) -> None:
        if self.axis is None:
            largest = weight.abs().amax().reshape(self.scale.shape)
        elif self.block:
            axis, sizes = self.axis, weight.shape
            blocks = weight.abs().reshape(*sizes[:axis], -1, self.block, *sizes[axis + 1 :])
            largest = blocks.amax(axis + 1)
        else:
            others = [axis for axis in range(weight.ndim) if axis != self.axis]
            largest = weight.abs().amax(others) if others else weight.abs()
        self.scale.copy_(self._rounded((largest / self.high).clamp_(min=_SCALE_FLOOR)))

    def _gradient_factor(self, x: Tensor) -> float:
        """Esser et al., section 2.2; samples of a batch do not count as elements."""
        shared = x.numel() // max(1, self.scale.numel())
        if self.role == "activation" and x.ndim > 1:
            shared //= max(1, x.shape[0])
        return 1.0 / math.sqrt(max(1, shared) * self.high)

    def settled(self) -> FakeQuantize:
        """A plain quantizer with the parameters as they are now."""
        scale, zero_point = self.current()
        return FakeQuantize(
            scale, zero_point, (self.low, self.high), axis=self.axis, block=self.block,
            fixed=self.fixed, role=self.role,
        )  # fmt: skip
