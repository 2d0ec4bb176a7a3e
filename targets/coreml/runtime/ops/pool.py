"""Pools."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.targets.coreml.runtime.ops.padding import Pads, spatial_pads
from edgekit.targets.coreml.runtime.registry import Ints, Tensor, operator

_MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def _read(
    x: Tensor, sizes: Ints, strides: Ints | None, pad_type: str, pad: Ints | None, ceil: bool
) -> tuple[Ints, Pads, Pads]:
    """Strides, declared padding, and padding with what rounding up adds at the end."""
    steps = strides or [1] * len(sizes)
    pads = spatial_pads(pad_type, pad, x.shape[2:], sizes, steps)
    if not ceil or pad_type.startswith("same"):
        return steps, pads, pads
    grown = []
    for size, kernel, step, (before, after) in zip(x.shape[2:], sizes, steps, pads, strict=True):
        windows = -(-(size + before + after - kernel) // step) + 1
        if (windows - 1) * step >= size + before:
            windows -= 1
        grown.append((before, max(after, (windows - 1) * step + kernel - size - before)))
    return steps, pads, grown


def _padded(x: Tensor, pads: Pads, value: float) -> Tensor:
    if not any(map(any, pads)):
        return x
    return F.pad(x, [amount for pair in reversed(pads) for amount in pair], value=value)


@operator("max_pool")
def max_pool(
    *,
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element of each window."""
    steps, _, pads = _read(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    symmetric = all(a == b and 2 * a <= k for (a, b), k in zip(pads, kernel_sizes, strict=True))
    pool = _MAX[len(kernel_sizes)]
    if symmetric:
        return pool(x, kernel_sizes, steps, [before for before, _ in pads])
    return pool(_padded(x, pads, -torch.inf), kernel_sizes, steps)


@operator("avg_pool")
def avg_pool(
    *,
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """The mean of each window; what rounding up adds is never counted."""
    steps, declared, pads = _read(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    pool = _AVERAGE[len(kernel_sizes)]
    if not any(map(any, pads)):
        return pool(x, kernel_sizes, steps)
    totals = pool(_padded(x, pads, 0), kernel_sizes, steps)
    if not exclude_padding_from_average and pads == declared:
        return totals
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype)
    if not exclude_padding_from_average:
        ones = _padded(ones, declared, 1)
        pads = [(0, b - own) for (_, b), (_, own) in zip(pads, declared, strict=True)]
    return totals / pool(_padded(ones, pads, 0), kernel_sizes, steps)


@operator("l2_pool")
def l2_pool(
    *,
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Root of the sum of squares of each window."""
    steps, _, pads = _read(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    means = _AVERAGE[len(kernel_sizes)](_padded(x * x, pads, 0), kernel_sizes, steps)
    return torch.sqrt(means * _count(kernel_sizes))


def _count(sizes: Sequence[int]) -> int:
    total = 1
    for size in sizes:
        total *= size
    return total
