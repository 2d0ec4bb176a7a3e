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

Both cases of ``dy/ds`` are ``(y - x * dy/dx) / s``, so that its sum with the gradient ``g``
of ``y`` needs two products of whole tensors only: ``(sum(g * y) - sum(g * dy/dx * x)) / s``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK = 1 << 17
"""Elements that stay in a core's cache between the four steps of the forward pass."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """What of a fake quantization is no tensor.

    Attributes:
        low: Lowest integer.
        high: Highest integer.
        axis: Axis that scale and zero point belong to; None when they are scalars.
        block: So many neighbours along the axis share a scale, which then has as many axes as
            what is quantized; 0 where there is one scale for each index of the axis.
        clamp: Real bounds between which ``x`` is clamped first, as a fused activation does.
        factor: Multiplies the gradient with respect to scale or log factor.
    """

    low: int
    high: int
    axis: int | None = None
    block: int = 0
    clamp: tuple[float, float] | None = None
    factor: float = 1.0


def fake_quantize(x: Tensor, scale: Tensor, zero_point: Tensor, rounding: Rounding) -> Tensor:
    """Rounds ``x`` to the real numbers that the integers ``low..high`` stand for.

    Args:
        x: Any shape; floating point.
        scale: A scalar, one number for each index of the axis, or one for each block; positive.
        zero_point: Like ``scale``, whole numbers in its floating-point dtype.
        rounding: The rest; ``clamp`` only for a scalar scale.

    Returns:
        Like ``x``. The gradient with respect to ``x``, ``scale`` and ``zero_point`` is that
        of the module's docstring.
    """
    return _apply(x, (scale, zero_point, None), rounding)


def learned_fake_quantize(
    x: Tensor, scale: Tensor, zero_point: Tensor, log_factor: Tensor, rounding: Rounding
) -> Tensor:
    """Like `fake_quantize` with a scale whose logarithm is trained.

    Args:
        x: See `fake_quantize`.
        scale: As it is now, ``s0 * exp(log_factor)``, also where it is rounded to fewer digits;
            without gradient.
        zero_point: See `fake_quantize`.
        log_factor: Like ``scale``; its gradient is ``scale * dL/dscale * rounding.factor``.
        rounding: See `fake_quantize`.
    """
    return _apply(x, (scale, zero_point, log_factor), rounding)


def _apply(
    x: Tensor, parameters: tuple[Tensor, Tensor, Tensor | None], rounding: Rounding
) -> Tensor:
    function: Any = _PerTensor if rounding.axis is None else _PerChannel
    if rounding.axis is None or not rounding.block:
        result: Tensor = function.apply(x, *parameters, rounding)
        return result
    axis = rounding.axis
    scale, zero_point, log_factor = (
        None if item is None else item.unsqueeze(axis + 1) for item in parameters
    )
    blocks = x.reshape(*x.shape[:axis], -1, rounding.block, *x.shape[axis + 1 :])
    result = function.apply(blocks, scale, zero_point, log_factor, rounding)
    return result.flatten(axis, axis + 1)


def rounded_bias(bias: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Rounds a bias; its gradient is the identity, since 32 bits never saturate in training."""
    function: Any = _Bias
    result: Tensor = function.apply(bias, scale, low, high)
    return result


def integers_of(x: Tensor, scale: Tensor, zero_point: Tensor, rounding: Rounding) -> Tensor:
    """The integers ``q`` of `fake_quantize`, as ``int64``; arguments as there."""
    scale, zero_point = (spread(item, x, rounding) for item in (scale, zero_point))
    quotient = torch.round(x / scale).to(torch.float64)
    return torch.clamp(quotient + zero_point, rounding.low, rounding.high).to(torch.int64)


def spread(parameter: Tensor, x: Tensor, rounding: Rounding) -> Tensor:
    """A scale or zero point in a shape that broadcasts with ``x``."""
    axis = rounding.axis
    if axis is not None and rounding.block:
        return parameter.repeat_interleave(rounding.block, dim=axis)
    return _aligned(parameter, x, axis)


def _aligned(parameter: Tensor, x: Tensor, axis: int | None) -> Tensor:
    if axis is None or parameter.ndim == x.ndim > 1:
        return parameter
    shape = [1] * x.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


class _PerTensor(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, log_factor: Tensor | None,
        rounding: Rounding,
    ) -> Tensor:  # fmt: skip
        shift, step = float(zero_point), float(scale)
        lowest, highest = rounding.low - shift, rounding.high - shift
        bounds = (lowest - 0.5) * step, (highest + 0.5) * step
        if rounding.clamp is not None:
            # Rounding is monotonous: clamping before it is clamping behind it to what the
            # bounds are rounded to.
            first, last = rounding.clamp
            lowest = max(lowest, _nearest(first, step))
            highest = min(highest, _nearest(last, step))
            bounds = max(bounds[0], first), min(bounds[1], last)
        y = _rounded(x, scale, lowest, highest)
        ctx.save_for_backward(x, scale, y if any(ctx.needs_input_grad[1:4]) else None)
        ctx.bounds = bounds
        ctx.factor = rounding.factor
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, y = ctx.saved_tensors
        # The gradient of a clamp in one pass and without a stored mask.
        inside = torch.ops.aten.hardtanh_backward(grad, x, *ctx.bounds)
        grad_scale = grad_zero = grad_log = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            slope = (_dot(grad, y) - _dot(inside, x)) * ctx.factor
            if ctx.needs_input_grad[1]:
                grad_scale = (slope / scale).reshape(scale.shape)
            else:
                grad_log = slope.reshape(scale.shape)
        if ctx.needs_input_grad[2]:
            grad_zero = ((inside.sum() - grad.sum()) * scale).reshape(scale.shape)
        return inside, grad_scale, grad_zero, grad_log, None


class _PerChannel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, log_factor: Tensor | None,
        rounding: Rounding,
    ) -> Tensor:  # fmt: skip
        ctx.shape = scale.shape
        scale, zero_point = (_aligned(item, x, rounding.axis) for item in (scale, zero_point))
        quotient = torch.div(x, scale)
        integers = torch.round(quotient).add_(zero_point)
        y = integers.clamp_(rounding.low, rounding.high).sub_(zero_point).mul_(scale)
        ctx.save_for_backward(x, scale, quotient.add_(zero_point), y)
        ctx.rounding = rounding
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, place, y = ctx.saved_tensors
        rounding: Rounding = ctx.rounding
        inside = torch.ops.aten.hardtanh_backward(
            grad, place, rounding.low - 0.5, rounding.high + 0.5
        )
        grad_scale = grad_zero = grad_log = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[3]:
            slope = _sum_to(grad * y - inside * x, scale.shape) * rounding.factor
            if ctx.needs_input_grad[1]:
                grad_scale = (slope / scale).reshape(ctx.shape)
            else:
                grad_log = slope.reshape(ctx.shape)
        if ctx.needs_input_grad[2]:
            grad_zero = (_sum_to(inside - grad, scale.shape) * scale).reshape(ctx.shape)
        return inside, grad_scale, grad_zero, grad_log, None


class _Bias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bias: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        return torch.div(bias, scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad, None, None, None


def _nearest(bound: float, step: float) -> float:
    """``round(bound / step)`` in float32, as an element of that value is rounded."""
    # A training that diverges comes to steps of 0 and infinity; its loss tells.
    with np.errstate(all="ignore"):
        return float(np.rint(np.float32(bound) / np.float32(step)))


def _sum_to(x: Tensor, shape: Sequence[int]) -> Tensor:
    axes = [axis for axis, size in enumerate(shape) if size == 1 and x.shape[axis] != 1]
    return x.sum(axes, keepdim=True) if axes else x


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
    return x.is_contiguous() or (
        x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    )


def _flat(x: Tensor) -> Tensor:
    """The elements in the order of memory."""
    return x.view(-1) if x.is_contiguous() else x.permute(0, 2, 3, 1).view(-1)


def _dot(left: Tensor, right: Tensor) -> Tensor:
    return torch.dot(left.reshape(-1), right.reshape(-1))
