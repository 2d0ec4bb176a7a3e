"""Convolutions by oneDNN with weights brought to its own layout once, channels last.

Twice as fast as torch's plain convolution on one thread. torch keeps the two operators for its
own compiler, so they are used only where they are there and give what the plain one gives.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.targets.coreml.runtime.registry import Ints, Tensor

type Window = tuple[Ints, Ints, Ints, int]
"""Padding, strides, dilations and groups."""


def pack(weight: Tensor, window: Window, shape: torch.Size) -> Any:
    """Weights in oneDNN's layout.

    Args:
        weight: float32 ``[outputs, inputs / groups, height, width]``.
        window: How the kernel slides.
        shape: Of the inputs.
    """
    padding, strides, dilations, groups = window
    last = weight.contiguous(memory_format=torch.channels_last)
    return torch.ops.mkldnn._reorder_convolution_weight(
        last, padding, strides, dilations, groups, list(shape)
    )


def convolve_packed(x: Tensor, weight: Any, bias: Tensor | None, window: Window) -> Tensor:
    """A convolution with packed weights.

    Args:
        x: float32 ``[batch, channels, height, width]``, channels last in memory.
        weight: From `pack`.
        bias: float32 ``[outputs]``.
        window: How the kernel slides.
    """
    padding, strides, dilations, groups = window
    found: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, padding, strides, dilations, groups, "none", [], ""
    )
    return found


def _works() -> bool:
    """Tries the operators on a small convolution."""
    x = torch.arange(32, dtype=torch.float32).reshape(1, 2, 4, 4)
    x = x.contiguous(memory_format=torch.channels_last)
    weight, window = torch.ones(3, 2, 3, 3), ([1, 1], [1, 1], [1, 1], 1)
    try:
        with torch.inference_mode():
            found = convolve_packed(x, pack(weight, window, x.shape), None, window)
    except (AttributeError, RuntimeError, TypeError):
        return False
    return bool(torch.equal(found, F.conv2d(x, weight, padding=1)))


PACKING = _works()
"""Whether this build of torch has the operators."""
