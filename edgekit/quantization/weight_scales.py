"""Scales of weights: just large enough for the largest weight, or with the least squared error.

The error of a slice or block with weights ``w`` and scale ``s`` is ``sum((w - s * q)^2)`` with
``q = clip(round(w / s), -highest, highest)``. A smaller scale is finer for most weights and cuts
the largest; with 4 bits that is worth it almost always.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.core.quant import ScaleFormat
from edgekit.quantization.affine import SCALE_FLOOR, rounded_scales
from edgekit.quantization.placement import LayerPlacement

type Scales = npt.NDArray[np.float32]
type Weights = npt.NDArray[np.float32]

_SMALLEST_FACTOR = 0.4
_FACTORS = 25
_CHUNK_ELEMENTS = 1 << 22
"""Weights that are tried at once, so that memory stays bounded."""


def weight_scales(
    weights: Weights, layer: LayerPlacement, scale_format: ScaleFormat = "float32"
) -> tuple[Scales, int, int]:
    """Scales as the layer's scheme asks for, with the axis and the block they are for.

    Args:
        weights: Of the layer; not modified.
        layer: Says what shares a scale and how it is chosen.
        scale_format: Format that represents every scale.

    Returns:
        A scalar, one number a channel, or one a block; the axis of the channels or of the
        blocks; and the size of a block, 0 for none.
    """
    slices, axis, block = _slices(weights, layer)
    highest = (1 << (layer.scheme.bits - 1)) - 1
    largest = np.abs(slices).max(axis=-1).astype(np.float64) / highest
    whole = np.maximum(largest, SCALE_FLOOR)
    if layer.scheme.fit == "largest":
        scales = rounded_scales(whole, scale_format)
    else:
        scales = _with_least_error(slices, whole, highest, scale_format)
    if block and axis == 0:
        scales = np.ascontiguousarray(scales.T)
    return scales, axis, block


def _slices(weights: Weights, layer: LayerPlacement) -> tuple[Weights, int, int]:
    """Weights that share a scale along the last axis; scales have the shape of the others.

    Blocks along axis 0 come as ``[columns, blocks, block]``, the transposition of their scales.
    """
    granularity = layer.scheme.granularity
    if granularity == "per-tensor":
        return weights.reshape(-1), layer.axis, 0
    if granularity == "per-channel":
        moved = np.moveaxis(weights, layer.axis, 0)
        return moved.reshape(moved.shape[0], -1), layer.axis, 0
    axis, block = 1 - layer.axis, layer.scheme.block_size
    rows = np.moveaxis(weights, axis, 1)
    return rows.reshape(rows.shape[0], -1, block), axis, block


def _with_least_error(
    slices: Weights, whole: npt.NDArray[np.float64], highest: int, scale_format: ScaleFormat
) -> Scales:
    """The best of several shares of the whole scale, for each slice on its own."""
    flat, count = slices.reshape(-1, slices.shape[-1]), slices.shape[-1]
    scales = rounded_scales(whole.reshape(-1), scale_format)
    rows = max(1, _CHUNK_ELEMENTS // count)
    for start in range(0, len(flat), rows):
        part = slice(start, start + rows)
        limits = whole.reshape(-1)[part]
        best = _squared_error(flat[part], scales[part], highest)
        for factor in np.linspace(_SMALLEST_FACTOR, 1.0, _FACTORS, endpoint=False)[::-1]:
            tried = rounded_scales(limits * factor, scale_format)
            error = _squared_error(flat[part], tried, highest)
            better = error < best
            best = np.where(better, error, best)
            scales[part] = np.where(better, tried, scales[part])
    return scales.reshape(whole.shape)


def _squared_error(slices: Weights, scales: Scales, highest: int) -> npt.NDArray[np.float64]:
    spread = scales[:, None]
    restored = np.clip(np.rint(slices / spread), -highest, highest) * spread
    error = np.square(slices - restored, dtype=np.float64)
    return np.asarray(error.sum(axis=-1))
