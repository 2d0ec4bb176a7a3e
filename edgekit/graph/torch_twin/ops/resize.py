"""Resize: one axis after the other, as weighted sums of neighbouring elements."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.integers import positive_axes
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import (
    float_attribute,
    input_at,
    int_attribute,
    ints_attribute,
    string_attribute,
)

type Floats = npt.NDArray[np.float64]
type Numbers = tuple[float, ...] | Tensor | None


@dataclass(frozen=True, slots=True)
class Sampling:
    """How places of the result map to places of the input.

    Attributes:
        mode: ``"nearest"``, ``"linear"`` or ``"cubic"``.
        coordinates: ONNX's ``coordinate_transformation_mode``.
        nearest: ONNX's ``nearest_mode``.
        cubic_a: Coefficient of the cubic kernel.
        exclude_outside: Weights outside the input are zero and the others grow.
        extrapolation: Value of places outside the region of ``tf_crop_and_resize``.
        antialias: Widen the kernel when an axis shrinks.
        policy: ONNX's ``keep_aspect_ratio_policy``.
        axes: Axes that scales, sizes and region are given for; empty for all.
    """

    mode: str
    coordinates: str
    nearest: str
    cubic_a: float
    exclude_outside: bool
    extrapolation: float
    antialias: bool
    policy: str
    axes: tuple[int, ...]


@twin_op("Resize")
def build_resize(context: TwinContext, node: ir.Node) -> Built:
    """All modes, by scales or sizes."""
    mode = string_attribute(node, "mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise Refusal(f"mode {mode!r}", "nearest, linear or cubic")
    value = input_at(node, 0)
    if value is None or value.dtype is None or not value.dtype.is_floating_point():
        raise Refusal("Resize of integers", "floating-point values")
    return context.call(
        resize, context.tensor(node, 0), context.numbers(node, 1), context.numbers(node, 2),
        context.numbers(node, 3), mode,
        string_attribute(node, "coordinate_transformation_mode", "half_pixel"),
        string_attribute(node, "nearest_mode", "round_prefer_floor"),
        float_attribute(node, "cubic_coeff_a", -0.75),
        bool(int_attribute(node, "exclude_outside", 0)),
        float_attribute(node, "extrapolation_value", 0.0),
        bool(int_attribute(node, "antialias", 0)),
        string_attribute(node, "keep_aspect_ratio_policy", "stretch"),
        ints_attribute(node, "axes"),
    )  # fmt: skip


def resize(x: Tensor, roi: Numbers, scales: Numbers, sizes: Numbers, *sampling: object) -> Tensor:
    """Resizes any axes of ``x``; ``sampling`` as the fields of `Sampling`."""
    how = Sampling(*sampling)  # type: ignore[arg-type]
    axes = positive_axes(how.axes, x.ndim) if how.axes else list(range(x.ndim))
    factors, lengths = _targets(x, axes, _floats(scales), _floats(sizes), how.policy)
    if _is_bilinear(how, axes, factors, x.ndim):
        return _bilinear(x, lengths, factors, axes, how)
    region = _floats(roi)
    outside = None
    for place, axis in enumerate(axes):
        size, length, factor = x.shape[axis], lengths[place], factors[place]
        bounds = (0.0, 1.0)
        if how.coordinates == "tf_crop_and_resize":
            bounds = (region[place], region[len(axes) + place])
        elif size == length and factor == 1.0:
            continue
        coordinates = _coordinates(size, length, factor, how.coordinates, bounds)
        x = _along(x, axis, coordinates, factor, how)
        if how.coordinates == "tf_crop_and_resize":
            beyond = torch.from_numpy((coordinates < 0) | (coordinates > size - 1))
            shape = [1] * x.ndim
            shape[axis] = length
            beyond = beyond.reshape(shape).to(x.device)
            outside = beyond if outside is None else outside | beyond
    return x if outside is None else torch.where(outside, how.extrapolation, x)


def _is_bilinear(how: Sampling, axes: list[int], factors: list[float], rank: int) -> bool:
    """True when only the last two of at least four axes are interpolated linearly."""
    plain = how.mode == "linear" and not how.antialias and not how.exclude_outside
    changed = {axis for axis, factor in zip(axes, factors, strict=True) if factor != 1.0}
    image = {rank - 2, rank - 1}
    return (
        plain
        and rank >= 4
        and how.coordinates != "tf_crop_and_resize"
        and changed <= image <= set(axes)
    )


def _bilinear(
    x: Tensor, lengths: list[int], factors: list[float], axes: list[int], how: Sampling
) -> Tensor:
    """Both axes of an image at once, with the products and sums in ONNX Runtime's order.

    On quantized values the exact result is often the half of a step, so that another order
    of additions would round to another integer.
    """
    rows, columns = (_neighbours(x, axis, axes, (lengths, factors), how) for axis in (-2, -1))
    upper, lower = x.index_select(-2, rows[0]), x.index_select(-2, rows[1])
    row_near, row_far = rows[3][:, None], rows[2][:, None]
    near, far = columns[3], columns[2]
    result = (near * row_near) * upper.index_select(-1, columns[0])
    result = result + (far * row_near) * upper.index_select(-1, columns[1])
    result = result + (near * row_far) * lower.index_select(-1, columns[0])
    return result + (far * row_far) * lower.index_select(-1, columns[1])


def _neighbours(
    x: Tensor, axis: int, axes: list[int], targets: tuple[list[int], list[float]], how: Sampling
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both neighbours of each place along an axis, and the distance to each of them."""
    place = axes.index(x.ndim + axis)
    lengths, factors = targets
    size = x.shape[axis]
    found = _coordinates(size, lengths[place], factors[place], how.coordinates, (0.0, 1.0))
    clipped = np.clip(found, 0, size - 1).astype(np.float32)
    first = clipped.astype(np.int64)
    second = np.minimum(first + 1, size - 1)
    to_first = np.where(first == second, np.float32(0.5), clipped - first.astype(np.float32))
    to_second = np.where(first == second, np.float32(0.5), second.astype(np.float32) - clipped)
    indices = [torch.from_numpy(item).to(x.device) for item in (first, second)]
    distances = [
        torch.from_numpy(item.astype(np.float32)).to(x.device, x.dtype)
        for item in (to_first, to_second)
    ]
    return indices[0], indices[1], distances[0], distances[1]


def _floats(numbers: Numbers) -> list[float]:
    if numbers is None:
        return []
    return [float(item) for item in (numbers.tolist() if isinstance(numbers, Tensor) else numbers)]


def _targets(
    x: Tensor, axes: list[int], scales: list[float], sizes: list[float], policy: str
) -> tuple[list[float], list[int]]:
    """Scale and output size of each axis."""
    inputs = [x.shape[axis] for axis in axes]
    if scales:
        return scales, [
            int(np.floor(size * scale)) for size, scale in zip(inputs, scales, strict=True)
        ]
    wanted = [int(size) for size in sizes]
    if policy == "stretch":
        return [after / before for after, before in zip(wanted, inputs, strict=True)], wanted
    ratios = [after / before for after, before in zip(wanted, inputs, strict=True)]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    # ONNX rounds halves up here.
    return [ratio] * len(axes), [int(np.floor(size * ratio + 0.5)) for size in inputs]


def _coordinates(
    size: int, length: int, scale: float, mode: str, bounds: tuple[float, float]
) -> Floats:
    """Place in the input of each element of the result, as a fraction."""
    # float32 like ONNX Runtime, so that halves fall on the same side.
    step = np.float32(scale)
    places = np.arange(length, dtype=np.float32)
    half = np.float32(0.5)
    if mode == "asymmetric":
        found = places / step
    elif mode == "align_corners":
        found = (
            np.zeros(1, np.float32)
            if length == 1
            else places * np.float32(size - 1) / (length - 1)
        )
    elif mode == "pytorch_half_pixel":
        found = (places + half) / step - half if length > 1 else np.zeros(1, np.float32)
    elif mode == "tf_crop_and_resize":
        start, end = bounds
        if length > 1:
            found = start * (size - 1) + places * (end - start) * (size - 1) / (length - 1)
        else:
            found = np.array([0.5 * (start + end) * (size - 1)])
    elif mode == "half_pixel_symmetric":
        # The result of a size that was rounded down is moved to the middle.
        adjustment = length / (scale * size)
        centre = size / 2
        found = centre * (1 - adjustment) + (places + half) / step - half
    else:
        found = (places + half) / step - half
    return found.astype(np.float64)


def _along(x: Tensor, axis: int, coordinates: Floats, scale: float, how: Sampling) -> Tensor:
    """Interpolates along one axis."""
    size = x.shape[axis]
    if how.mode == "nearest":
        index = np.clip(_nearest(coordinates, how.nearest), 0, size - 1)
        return x.index_select(axis, torch.from_numpy(index).to(x.device))
    indices, weights = _taps(coordinates, size, scale, how)
    shape = [1] * x.ndim
    shape[axis] = len(coordinates)
    result: Tensor | None = None
    for place, weight in zip(indices, weights, strict=True):
        chosen = x.index_select(axis, torch.from_numpy(place).to(x.device))
        factor = torch.from_numpy(weight).to(x.device, x.dtype).reshape(shape)
        result = chosen * factor if result is None else result + chosen * factor
    if result is None:
        raise ValueError("a kernel has at least one tap")
    return result


def _nearest(coordinates: Floats, mode: str) -> npt.NDArray[np.int64]:
    if mode == "floor":
        chosen = np.floor(coordinates)
    elif mode == "ceil":
        chosen = np.ceil(coordinates)
    elif mode == "round_prefer_ceil":
        chosen = np.floor(coordinates + 0.5)
    else:
        chosen = np.ceil(coordinates - 0.5)
    return chosen.astype(np.int64)


def _taps(
    coordinates: Floats, size: int, scale: float, how: Sampling
) -> tuple[list[npt.NDArray[np.int64]], list[Floats]]:
    """Neighbours of each place and their weights, as one array a tap."""
    stretch = min(scale, 1.0) if how.antialias else 1.0
    radius = (1.0 if how.mode == "linear" else 2.0) / stretch
    first = np.floor(coordinates - radius).astype(np.int64) + 1
    count = int(np.ceil(2 * radius)) + (0 if stretch == 1.0 else 1)
    places = [first + tap for tap in range(count)]
    weights = [_kernel((place - coordinates) * stretch, how) for place in places]
    if how.exclude_outside or stretch != 1.0:
        if how.exclude_outside:
            weights = [
                np.where((place < 0) | (place >= size), 0.0, weight)
                for place, weight in zip(places, weights, strict=True)
            ]
        total = np.sum(weights, axis=0)
        weights = [weight / total for weight in weights]
    return [np.clip(place, 0, size - 1) for place in places], weights


def _kernel(distance: Floats, how: Sampling) -> Floats:
    away = np.abs(distance)
    if how.mode == "linear":
        return np.clip(1.0 - away, 0.0, None)
    a = how.cubic_a
    near = ((a + 2) * away - (a + 3)) * away * away + 1
    far = ((a * away - 5 * a) * away + 8 * a) * away - 4 * a
    return np.where(away < 1, near, np.where(away < 2, far, 0.0))
