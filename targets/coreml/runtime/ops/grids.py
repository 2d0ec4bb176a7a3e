"""Where resized images take their samples along one axis.

Source: the notes on ``sampling_mode`` in coremltools' definition of ``resize_bilinear``.
"""

from __future__ import annotations

import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Tensor


def grid(size: int, length: int, mode: str) -> Tensor:
    """Places ``[size]`` on an axis of ``length``, float64, within it.

    Args:
        size: Samples.
        length: Elements.
        mode: Sampling mode of ``resize_bilinear``.
    """
    places = torch.arange(size, dtype=torch.float64)
    if mode in {"STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"}:
        if size == 1:
            found = torch.full((1,), (length - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0)
        else:
            found = places * ((length - 1) / (size - 1))
    elif mode == "DEFAULT":
        found = places * ((length - length / size) / (size - 1)) if size > 1 else places
    elif mode == "OFFSET_CORNERS":
        delta = max(1, length - 1) / size
        found = 0.5 * delta + places * delta
    elif mode == "UNALIGN_CORNERS":
        step = length / size
        found = places * step + 0.5 * step - 0.5
    else:
        raise UnsupportedError(f"sampling mode {mode!r} is not known")
    return found.to(torch.float64).clamp(0, length - 1)


def along(x: Tensor, axis: int, places: Tensor) -> Tensor:
    """Linear interpolation along an axis.

    Args:
        x: Tensor.
        axis: Axis.
        places: float64 ``[size]``, within the axis.
    """
    low = places.floor()
    share = (places - low).to(torch.float32)
    first = low.to(torch.int64)
    second = (first + 1).clamp(max=x.shape[axis] - 1)
    shape = [1] * x.ndim
    shape[axis] = -1
    weight = share.reshape(shape)
    return x.index_select(axis, first) * (1 - weight) + x.index_select(axis, second) * weight
