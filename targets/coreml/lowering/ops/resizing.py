"""Resize: MIL's own operators where they compute the same, else exact products with matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    ints_attribute,
    normalized_axis,
    optional_input,
    text_attribute,
)
from edgekit.targets.coreml.lowering.emitter import Emitter, is_open, kind_of, rank_of, shape_of
from edgekit.targets.coreml.lowering.interpolation import Axis, Sampling, interpolation_matrix
from edgekit.targets.coreml.lowering.registry import Var, lowers

_NATIVE = {"half_pixel", "pytorch_half_pixel"}


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which axes change, and how."""

    axes: dict[int, Axis]
    sampling: Sampling


@lowers("Resize", "Upsample", accepts="constant sizes or scales over fixed sizes; all modes")
def lower_resize(e: Emitter, node: ir.Node) -> Var:
    """Another resolution along some axes."""
    x = e.input(node, 0)
    plan = _read(e, node, x)
    whole = kind_of(x) == "int"
    if whole and plan.sampling.mode != "nearest":
        raise Refusal(f"Resize of integers in mode {plan.sampling.mode}", "floats")
    for axis, spec in plan.axes.items():
        if is_open(shape_of(x)[axis]):
            raise Refusal("Resize of an open dimension", f"a fixed size of axis {axis} ({spec})")
    native = None if whole else _native(e, x, plan)
    if native is not None:
        return native
    for axis, spec in plan.axes.items():
        x = _along(e, x, axis, interpolation_matrix(spec, plan.sampling))
    return x


def _read(e: Emitter, node: ir.Node, x: Var) -> _Plan:
    rank = rank_of(x)
    default = "asymmetric" if node.op_type == "Upsample" or e.opset < 11 else "half_pixel"
    sampling = Sampling(
        mode=text_attribute(node, "mode", "nearest"),
        coordinates=text_attribute(node, "coordinate_transformation_mode", default),
        nearest=text_attribute(
            node, "nearest_mode", "floor" if default == "asymmetric" else "round_prefer_floor"
        ),
        cubic=float_attribute(node, "cubic_coeff_a", -0.75),
        exclude_outside=bool(int_attribute(node, "exclude_outside", 0)),
        antialias=bool(int_attribute(node, "antialias", 0)),
        outside=float_attribute(node, "extrapolation_value", 0.0),
    )
    axes = [normalized_axis(axis, rank) for axis in ints_attribute(node, "axes")]
    axes = axes or list(range(rank))
    scales, sizes, roi = _requested(e, node)
    if scales is None and sizes is None:
        raise Refusal("neither scales nor sizes are constants", "constant scales or sizes")
    policy = text_attribute(node, "keep_aspect_ratio_policy", "stretch")
    found: dict[int, Axis] = {}
    given = [shape_of(x)[axis] for axis in axes]
    if sizes is not None and policy != "stretch":
        ratios = [size / int(own) for size, own in zip(sizes, given, strict=True)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        sizes = [math.floor(ratio * int(own) + 0.5) for own in given]
        scales = [ratio] * len(axes)
    for at, (axis, own) in enumerate(zip(axes, given, strict=True)):
        spec = _axis(at, own, len(axes), (scales, sizes, roi), sampling)
        if spec is not None:
            found[axis] = spec
    return _Plan(found, sampling)


def _requested(e: Emitter, node: ir.Node) -> tuple[list[float] | None, list[int] | None, Any]:
    if "scales" in node.attributes:
        return [float(item) for item in node.attributes["scales"].as_floats()], None, None
    if node.op_type == "Upsample" or e.opset < 11:
        given = e.required_array(node, 1, "the scales")
        return [float(item) for item in given.reshape(-1)], None, None
    arrays = [e.array(optional_input(node, index)) for index in (1, 2, 3)]
    roi, scales_array, sizes_array = arrays
    scales = None if scales_array is None or not scales_array.size else scales_array
    sizes = None if sizes_array is None or not sizes_array.size else sizes_array
    return (
        None if scales is None else [float(item) for item in scales.reshape(-1)],
        None if sizes is None else [int(item) for item in sizes.reshape(-1)],
        roi,
    )


def _axis(
    at: int, own: Any, count: int, requested: tuple[Any, Any, Any], sampling: Sampling
) -> Axis | None:
    """How one axis changes; None where it stays as it is."""
    scales, sizes, roi = requested
    crop = sampling.coordinates == "tf_crop_and_resize"
    if is_open(own):
        unchanged = scales is not None and scales[at] == 1.0
        if unchanged and not crop:
            return None
        return Axis(0, 0, 1.0)
    length = int(own)
    size = int(sizes[at]) if sizes is not None else math.floor(length * np.float32(scales[at]))
    scale = float(np.float32(scales[at])) if scales is not None else size / length
    if size == 0:
        raise Refusal("a tensor without elements", "sizes of at least 1")
    window = (0.0, 1.0)
    if crop:
        if roi is None or not roi.size:
            raise Refusal("tf_crop_and_resize with a region computed at run time", "a constant")
        window = (float(roi.reshape(-1)[at]), float(roi.reshape(-1)[at + count]))
    if size == length and scale == 1.0 and window == (0.0, 1.0):
        return None
    return Axis(length, size, scale, window)


def _native(e: Emitter, x: Var, plan: _Plan) -> Var | None:
    """MIL's own operator for the last two axes of an image, where it is defined the same way."""
    sampling = plan.sampling
    if rank_of(x) != 4 or set(plan.axes) - {2, 3} or sampling.antialias or not plan.axes:
        return None
    sizes = shape_of(x)[2:]
    if any(is_open(size) for size in sizes):
        return None
    full = {axis: plan.axes.get(axis, Axis(int(sizes[axis - 2]), int(sizes[axis - 2]), 1.0))
            for axis in (2, 3)}  # fmt: skip
    exact = all(spec.size == spec.length * spec.scale for spec in full.values())
    growing = all(spec.scale >= 1 for spec in full.values())
    if not exact or not growing:
        return None
    height, width = (np.float32(full[axis].scale) for axis in (2, 3))
    if sampling.mode == "nearest":
        steps = all(spec.scale == int(spec.scale) for spec in full.values())
        plain = sampling.coordinates == "asymmetric" and sampling.nearest == "floor"
        centred = sampling.coordinates in _NATIVE and sampling.nearest.startswith("round_prefer")
        if steps and (plain or centred):
            return e("upsample_nearest_neighbor", x=x, scale_factor_height=height,
                     scale_factor_width=width)  # fmt: skip
        return None
    if sampling.mode != "linear":
        return None
    longer = all(spec.size > 1 for spec in full.values())
    if sampling.coordinates == "half_pixel" or (sampling.coordinates in _NATIVE and longer):
        return e("upsample_bilinear", x=x, scale_factor_height=height, scale_factor_width=width,
                 align_corners=False)  # fmt: skip
    if sampling.coordinates == "align_corners" and longer:
        return e("upsample_bilinear", x=x, scale_factor_height=height, scale_factor_width=width,
                 align_corners=True)  # fmt: skip
    return None


def _along(e: Emitter, x: Var, axis: int, weights: Any) -> Var:
    """Product of an axis with ``weights`` (float32 ``[size, length]``, last column constant)."""
    matrix, constant = weights
    hot = (matrix != 0).sum(axis=1)
    if (hot == 1).all() and (matrix.max(axis=1) == 1).all() and not constant.any():
        return e("gather", x=x, indices=matrix.argmax(axis=1).astype(np.int32), axis=axis)
    rank = rank_of(x)
    if rank == 1:
        made = e("matmul", x=matrix, y=e("expand_dims", x=x, axes=[1]))
        made = e("squeeze", x=made, axes=[1])
    elif axis == rank - 1:
        made = e("matmul", x=x, y=np.ascontiguousarray(matrix.T))
    elif axis == rank - 2:
        made = e("matmul", x=matrix, y=x)
    else:
        perm = [index for index in range(rank) if index != axis] + [axis]
        turned = e("matmul", x=e("transpose", x=x, perm=perm), y=np.ascontiguousarray(matrix.T))
        back = [perm.index(index) for index in range(rank)]
        made = e("transpose", x=turned, perm=back)
    if not constant.any():
        return made
    shape = [1] * rank
    shape[axis] = len(constant)
    return e("add", x=made, y=constant.reshape(shape))
