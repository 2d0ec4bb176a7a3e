"""quantize and dequantize, as iOS17 defines them: in float32, rounding halves to even."""

from __future__ import annotations

import torch

from edgekit.targets.coreml.runtime.registry import Tensor, operator

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}


def _spread(parameter: Tensor, x: Tensor, axis: int | None) -> Tensor:
    if axis is None or parameter.ndim == 0:
        return parameter
    shape = [1] * x.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


@operator("quantize")
def quantize(
    *,
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """``clip(round(x / scale) + zero_point)``."""
    low, high = _LIMITS[output_dtype]
    steps = torch.round(input / _spread(scale, input, axis))
    if zero_point is not None:
        steps = steps + _spread(zero_point, input, axis).to(torch.float32)
    return steps.clamp_(low, high).to(torch.uint8 if low == 0 else torch.int8)


@operator("dequantize")
def dequantize(
    *,
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """``scale * (q - zero_point)``."""
    floats = input.to(torch.float32)
    if zero_point is not None:
        floats = floats - _spread(zero_point, input, axis).to(torch.float32)
    return floats * _spread(scale, input, axis)
