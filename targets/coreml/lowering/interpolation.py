"""Weights of ONNX's Resize along one axis.

Source: the ONNX operator specification of Resize (opset 19) and its reference implementation's
definition of coordinates, filters and what lies outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.graph.node_view import Refusal

type Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Axis:
    """One resized axis.

    Attributes:
        length: Elements before.
        size: Elements after.
        scale: Declared ratio, or ``size / length``.
        window: Begin and end of the region that is resized, as shares of the axis.
    """

    length: int
    size: int
    scale: float
    window: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Attributes of Resize that choose weights; ``outside`` is what lies outside the region."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float
    exclude_outside: bool
    antialias: bool
    outside: float


def interpolation_matrix(axis: Axis, sampling: Sampling) -> tuple[Any, Any]:
    """Weights of each source element for each resized one.

    Args:
        axis: The axis.
        sampling: The attributes.

    Returns:
        float32 ``[size, length]``, and what is added to each resized element, float32
        ``[size]``.

    Raises:
        Refusal: For a mode that ONNX does not define.
    """
    matrix = np.zeros((axis.size, axis.length))
    constant = np.zeros(axis.size)
    for place in range(axis.size):
        at = _source(place, axis, sampling.coordinates)
        if sampling.coordinates == "tf_crop_and_resize" and not 0 <= at <= axis.length - 1:
            constant[place] = sampling.outside
            continue
        for index, weight in _taps(at, axis, sampling):
            matrix[place, min(max(index, 0), axis.length - 1)] += weight
    return matrix.astype(np.float32), constant.astype(np.float32)


def _source(place: int, axis: Axis, coordinates: str) -> float:
    """Where a resized element lies on the axis before."""
    scale, length = axis.scale, axis.length
    size = scale * length
    if coordinates == "half_pixel":
        return (place + 0.5) / scale - 0.5
    if coordinates == "half_pixel_symmetric":
        adjustment = axis.size / size
        return length / 2 * (1 - adjustment) + (place + 0.5) / scale - 0.5
    if coordinates == "pytorch_half_pixel":
        return (place + 0.5) / scale - 0.5 if axis.size > 1 else 0.0
    if coordinates == "align_corners":
        return 0.0 if axis.size == 1 else place * (length - 1) / (axis.size - 1)
    if coordinates == "asymmetric":
        return place / scale
    if coordinates == "tf_half_pixel_for_nn":
        return (place + 0.5) / scale
    if coordinates == "tf_crop_and_resize":
        begin, end = axis.window
        if axis.size == 1:
            return 0.5 * (begin + end) * (length - 1)
        return begin * (length - 1) + place * (end - begin) * (length - 1) / (axis.size - 1)
    raise Refusal(f"coordinate_transformation_mode {coordinates!r}")


def _taps(at: float, axis: Axis, sampling: Sampling) -> list[tuple[int, float]]:
    """Source elements and their weights."""
    if sampling.mode == "nearest":
        return [(_nearest(at, sampling.nearest), 1.0)]
    if sampling.mode == "linear":
        support = 1
    elif sampling.mode == "cubic":
        support = 2
    else:
        raise Refusal(f"Resize in mode {sampling.mode!r}", "nearest, linear or cubic")
    stretch = 1.0
    if sampling.antialias and axis.scale < 1:
        stretch = axis.scale
    reach = int(np.ceil(support / stretch))
    first = int(np.floor(at)) - reach + 1
    taps = []
    for index in range(first - 1, first + 2 * reach + 1):
        distance = abs(index - at) * stretch
        weight = _triangle(distance) if support == 1 else _cubic(distance, sampling.cubic)
        if weight:
            taps.append((index, weight))
    if sampling.exclude_outside or (sampling.antialias and axis.scale < 1):
        if sampling.exclude_outside:
            taps = [(i, weight) for i, weight in taps if 0 <= i < axis.length]
        total = sum(weight for _, weight in taps)
        taps = [(index, weight / total) for index, weight in taps]
    return taps


def _nearest(at: float, mode: str) -> int:
    if mode == "floor":
        return int(np.floor(at))
    if mode == "ceil":
        return int(np.ceil(at))
    if mode == "round_prefer_floor":
        return int(np.ceil(at - 0.5))
    if mode == "round_prefer_ceil":
        return int(np.floor(at + 0.5))
    raise Refusal(f"nearest_mode {mode!r}")


def _triangle(distance: float) -> float:
    return max(0.0, 1.0 - distance)


def _cubic(distance: float, a: float) -> float:
    """Keys' kernel (IEEE Trans. ASSP 29, 1981)."""
    if distance <= 1:
        return ((a + 2) * distance - (a + 3)) * distance**2 + 1
    if distance < 2:
        return ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return 0.0
