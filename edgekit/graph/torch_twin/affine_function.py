"""The arithmetic of fake quantization with its straight-through gradient.

With ``s`` the scale, ``z`` the zero point and ``[lo, hi]`` the integers that exist::

    q = clamp(round(x / s) + z, lo, hi)        y = (q - z) * s

``round`` takes halves to the even neighbour and the quotient is a float32 division, as in
ONNX Runtime's QuantizeLinear; torch's own ``fake_quantize`` ops multiply by ``1 / s`` and so
differ on halves (and are ten times slower on a CPU).

Gradient: ``round`` counts as the identity (straight-through), ``clamp`` has its own gradient.
So ``dy/dx`` is 1 where ``lo <= round(x / s) + z <= hi`` and 0 elsewhere, and (Esser et al.,
Learned Step Size Quantization, ICLR 2020, equation 3, with a zero point)::

    dy/ds = (y - x) / s   inside,   q - z   outside        dy/dz = 0   inside,   -s   outside
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK = 1 << 17
"""Elements that stay in a core's cache between the four steps of the forward pass."""


def fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, axis: int | None = None
) -> Tensor:
    """Rounds ``x`` to the real numbers that the integers ``low..high`` stand for.

    Args:
        x: Any shape; floating point.
        scale: A scalar, or one number for each index of ``axis``; positive.
        zero_point: Like ``scale``, whole numbers in its floating-point dtype.
        low: Lowest integer.
        high: Highest integer.
        axis: Axis of ``x`` that ``scale`` belongs to; None for a scalar.

    Returns:
        Like ``x``. The gradient with respect to ``x``, ``scale`` and ``zero_point`` is that
        of the module's docstring.
    """
    function: Any = _PerTensor if axis is None else _PerChannel
    if axis is not None:
        shape = [1] * x.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    result: Tensor = function.apply(x, scale, zero_point, low, high)
    return result


def integers_of(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, axis: int | None = None
) -> Tensor:
    """The integers ``q`` of `fake_quantize`, as ``int64``; arguments as there."""
    if axis is not None:
        shape = [1] * x.ndim
        shape[axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    quotient = torch.round(x / scale).to(torch.float64)
    return torch.clamp(quotient + zero_point, low, high).to(torch.int64)


class _PerTensor(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int
    ) -> Tensor:
        shift = float(zero_point)
        lowest, highest = low - shift, high - shift
        y = _rounded(x, scale, lowest, highest)
        learned = scale.requires_grad or zero_point.requires_grad
        ctx.save_for_backward(x, scale, *([y] if learned else []))
        ctx.bounds = (lowest, highest)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, *rest = ctx.saved_tensors
        lowest, highest = ctx.bounds
        step = float(scale)
        # The gradient of a clamp in one pass and without a stored mask.
        inside = torch.ops.aten.hardtanh_backward(
            grad, x, (lowest - 0.5) * step, (highest + 0.5) * step
        )
        if not rest:
            return inside, None, None, None, None
        y = rest[0]
        outside = grad - inside
        grad_scale = (_dot(inside, y - x) + _dot(outside, y)) / scale
        grad_zero = -outside.sum() * scale
        return inside, grad_scale.reshape(scale.shape), grad_zero.reshape(scale.shape), None, None


class _PerChannel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int
    ) -> Tensor:
        rounded = torch.div(x, scale).round_()
        lowest, highest = low - zero_point, high - zero_point
        q = torch.clamp(rounded, lowest, highest)
        ctx.save_for_backward(x, scale, rounded == q, q)
        return q * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, is_inside, q = ctx.saved_tensors
        inside = grad * is_inside
        grad_scale = grad_zero = None
        if ctx.needs_input_grad[1]:
            slope = torch.where(is_inside, q - x / scale, q)
            grad_scale = (grad * slope).sum_to_size(scale.shape)
        if ctx.needs_input_grad[2]:
            grad_zero = (-(grad - inside) * scale).sum_to_size(scale.shape)
        return inside, grad_scale, grad_zero, None, None


def _rounded(x: Tensor, scale: Tensor, lowest: float, highest: float) -> Tensor:
    y = torch.empty_like(x, memory_format=torch.preserve_format)
    if x.device.type != "cpu" or x.numel() <= _CHUNK or not _is_dense(x):
        return _round_into(x, y, scale, lowest, highest)
    parts = (torch.split(_flat(item), _CHUNK) for item in (x, y))
    for source, target in zip(*parts, strict=True):
        _round_into(source, target, scale, lowest, highest)
    return y


def _round_into(x: Tensor, y: Tensor, scale: Tensor, lowest: float, highest: float) -> Tensor:
    return torch.div(x, scale, out=y).round_().clamp_(lowest, highest).mul_(scale)


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _flat(x: Tensor) -> Tensor:
    """The elements in the order of memory."""
    return x.view(-1) if x.is_contiguous() else x.permute(0, 2, 3, 1).view(-1)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.dot(left.reshape(-1), right.reshape(-1))
