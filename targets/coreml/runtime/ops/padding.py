"""Padding of convolutions and pools."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.errors import UnsupportedError

type Pads = list[tuple[int, int]]


def spatial_pads(
    pad_type: str,
    pad: Sequence[int] | None,
    sizes: Sequence[int],
    reach: Sequence[int],
    strides: Sequence[int],
) -> Pads:
    """Elements added before and after each spatial axis.

    Args:
        pad_type: ``"valid"``, ``"custom"``, ``"same"`` or ``"same_lower"``.
        pad: Both ends of each axis in turn, for ``"custom"``.
        sizes: Sizes of the axes.
        reach: Elements that the kernel spans.
        strides: Steps.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        flat = list(pad or [0] * (2 * len(sizes)))
        return list(zip(flat[::2], flat[1::2], strict=True))
    if pad_type not in {"same", "same_lower"}:
        raise UnsupportedError(f"pad_type {pad_type!r} is not known")
    pads = []
    for size, span, step in zip(sizes, reach, strides, strict=True):
        total = max(0, (-(-size // step) - 1) * step + span - size)
        small, large = total // 2, total - total // 2
        pads.append((small, large) if pad_type == "same" else (large, small))
    return pads
