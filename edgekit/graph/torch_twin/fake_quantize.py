"""Fake quantization as a module: a quantization of the graph, or a group of equal ones."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.graph.torch_twin.affine_function import (
    Rounding,
    fake_quantize,
    integers_of,
    rounded_bias,
)

INT32_LOWEST, INT32_HIGHEST = -(1 << 31), (1 << 31) - 1


class FakeQuantize(nn.Module):
    """Rounds to what integers can hold, with parameters that stay as they are.

    One module stands for all tensors of the graph that share their parameters. Training
    replaces it by a subclass whose parameters change.

    Attributes:
        scale: ``float32``, a scalar or ``[channels]``; positive.
        zero_point: Like ``scale``, whole numbers.
        low: Lowest integer.
        high: Highest integer.
        axis: Axis of the channels or blocks; None when there is one scale.
        block: Neighbours along the axis that share a scale; 0 for channels.
        fixed: True when the graph demands exactly these parameters, as behind a Softmax.
        role: ``"activation"``, or ``"weight"`` for parameters of a layer.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self,
        scale: Tensor,
        zero_point: Tensor,
        limits: tuple[int, int],
        *,
        axis: int | None = None,
        block: int = 0,
        fixed: bool = False,
        role: str = "activation",
    ) -> None:
        super().__init__()
        self.low, self.high = limits
        self.axis = axis
        self.block = block
        self.fixed = fixed
        self.role = role
        self.rounding = Rounding(self.low, self.high, axis, block)
        self.register_buffer("scale", scale.detach().clone())
        self.register_buffer("zero_point", zero_point.detach().to(scale.dtype).clone())

    def forward(self, x: Tensor) -> Tensor:
        """Like ``x``, rounded."""
        scale, zero_point = self.current()
        return fake_quantize(x, scale, zero_point, self.rounding)

    def current(self) -> tuple[Tensor, Tensor]:
        """Scale and whole zero point as they are used now."""
        return self.scale, self.zero_point

    @torch.no_grad()
    def integers(self, x: Tensor) -> Tensor:
        """The integers that ``x`` is stored as, ``int64``."""
        return integers_of(x, *self.current(), self.rounding)

    def extra_repr(self) -> str:
        """For ``print``."""
        what = f"{self.block} along" if self.block else "channel of"
        kind = "per tensor" if self.axis is None else f"per {what} axis {self.axis}"
        return f"{self.role}, {kind}, {self.low}..{self.high}{', fixed' if self.fixed else ''}"


class BiasQuantize(nn.Module):
    """Rounds a bias to 32-bit integers with the scale ``input scale * weight scale``.

    Attributes:
        sources: Quantizer of the layer's input and of its weights; not registered, since both
            belong to other places of the twin.
        groups: Groups of a transposed convolution, whose weight scales repeat in each.
    """

    def __init__(self, sources: Sequence[FakeQuantize], groups: int = 1) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.groups = groups

    @torch.no_grad()
    def scale(self) -> Tensor:
        """Scale of the bias, ``float32[1]`` or ``float32[channels]``; without gradient."""
        activation, weight = (source.current()[0] for source in self.sources)
        product = activation.reshape(-1) * weight.reshape(-1)
        many = self.groups > 1 and product.numel() > 1
        return product.repeat(self.groups) if many else product

    def forward(self, bias: Tensor) -> Tensor:
        """Like ``bias`` (``[channels]``), rounded."""
        return rounded_bias(bias, self.scale(), INT32_LOWEST, INT32_HIGHEST)

    @torch.no_grad()
    def integers(self, bias: Tensor) -> Tensor:
        """The integers that ``bias`` is stored as, ``int64``."""
        quotient = torch.round(bias / self.scale()).to(torch.float64)
        return torch.clamp(quotient, INT32_LOWEST, INT32_HIGHEST).to(torch.int64)
