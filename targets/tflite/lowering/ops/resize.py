"""Resize: RESIZE_BILINEAR, RESIZE_NEAREST_NEIGHBOR, or GATHER where those round otherwise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    optional_input,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.image import image_shape
from edgekit.targets.tflite.lowering.layout import NHWC
from edgekit.targets.tflite.lowering.registry import lowers

_HALF_PIXEL_VERSION = 3
type Doubles = npt.NDArray[np.float64]

_ROUNDING: dict[str, Callable[[Doubles], Doubles]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@lowers(
    "Resize",
    accepts="nearest or linear over height and width, constant sizes",
    integer=True,
    int16=True,
)
def lower_resize(context: LoweringContext, node: ir.Node) -> None:
    """Resize of [N,C,H,W] over H and W."""
    value, result = required_input(node, 0), node.outputs[0]
    _, channels, *before = image_shape(context, value)
    _, made, *after = image_shape(context, result)
    if channels != made:
        raise Refusal("a resize of the channels", "height and width alone")
    if int_attribute(node, "antialias", 0):
        raise Refusal("antialias=1", "antialias=0")
    if text_attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Refusal("an aspect-ratio policy", "stretch")
    mode = text_attribute(node, "mode", "nearest")
    coordinates = text_attribute(node, "coordinate_transformation_mode", "half_pixel")
    scales = _scales(context, node, before, after)
    if mode == "linear":
        _lower_linear(context, node, coordinates, scales)
    elif mode == "nearest":
        indices = [
            _nearest_indices(node, coordinates, before[i], after[i], scales[i]) for i in range(2)
        ]
        _lower_nearest(context, node, indices)
    else:
        raise Refusal(f"mode {mode!r}", "nearest or linear")


def _scales(
    context: LoweringContext, node: ir.Node, before: list[int], after: list[int]
) -> list[float]:
    """Output over input size of each spatial axis, as the node states it.

    ONNX computes coordinates with the given scale even if the rounded size differs from it.
    """
    constant = context.constant(optional_input(node, 2))
    if constant is not None and constant.size == 4:
        return [float(constant[2]), float(constant[3])]
    return [after[i] / before[i] for i in range(2)]


def _lower_linear(
    context: LoweringContext, node: ir.Node, coordinates: str, scales: list[float]
) -> None:
    value, result = required_input(node, 0), node.outputs[0]
    _, _, *before = image_shape(context, value)
    _, _, *after = image_shape(context, result)
    if any(not np.isclose(scales[i], after[i] / before[i]) for i in range(2)):
        raise Refusal("a scale that the rounded output size does not have", "sizes in full")
    value_type = context.type_of(value)
    options = schema.ResizeBilinearOptionsT()
    if coordinates == "align_corners":
        options.alignCorners = True
    elif coordinates == "half_pixel" or (
        coordinates == "pytorch_half_pixel" and all(size > 1 for size in after)
    ):
        options.halfPixelCenters = True
    elif coordinates != "asymmetric":
        raise Refusal(
            f"coordinate_transformation_mode {coordinates!r}",
            "half_pixel, pytorch_half_pixel, align_corners, asymmetric",
        )
    version = _HALF_PIXEL_VERSION if options.halfPixelCenters else 1
    size = context.index_tensor(np.array(after, np.int32), f"{node.name}/size")
    inputs = [context.tensor(value, NHWC), size]
    context.result(result, Operator("RESIZE_BILINEAR", options, version), inputs, NHWC, value_type)


def _nearest_indices(
    node: ir.Node, coordinates: str, before: int, after: int, scale: float
) -> npt.NDArray[np.int64]:
    """Input index of every output index, by the formulas of ONNX's Resize."""
    position = np.arange(after, dtype=np.float64)
    if coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and after > 1):
        source = (position + 0.5) / scale - 0.5
    elif coordinates == "asymmetric":
        source = position / scale
    elif coordinates == "align_corners":
        source = position * (before - 1) / max(after - 1, 1)
    elif coordinates == "pytorch_half_pixel":
        source = np.zeros(after)
    else:
        raise Refusal(
            f"coordinate_transformation_mode {coordinates!r}",
            "half_pixel, pytorch_half_pixel, align_corners, asymmetric",
        )
    rounding = text_attribute(node, "nearest_mode", "round_prefer_floor")
    return np.clip(_ROUNDING[rounding](source), 0, before - 1).astype(np.int64)


def _lower_nearest(
    context: LoweringContext, node: ir.Node, indices: list[npt.NDArray[np.int64]]
) -> None:
    """RESIZE_NEAREST_NEIGHBOR if it picks the same elements, else one GATHER an axis."""
    value, result = required_input(node, 0), node.outputs[0]
    batch, channels, height, width = image_shape(context, value)
    after = [len(part) for part in indices]
    tensor = context.tensor(value, NHWC)
    if value in context.non_negative:
        context.non_negative.add(result)
    for half_pixel in (False, True):
        picked = [
            _tflite_indices(size, made, half_pixel=half_pixel)
            for size, made in zip((height, width), after, strict=True)
        ]
        if all(np.array_equal(a, b) for a, b in zip(picked, indices, strict=True)):
            options = schema.ResizeNearestNeighborOptionsT()
            options.halfPixelCenters = half_pixel
            version = _HALF_PIXEL_VERSION if half_pixel else 1
            size = context.index_tensor(np.array(after, np.int32), f"{node.name}/size")
            operator = Operator("RESIZE_NEAREST_NEIGHBOR", options, version)
            context.result(result, operator, [tensor, size], NHWC, context.type_of(value))
            return
    context.notes.append(
        f"{node.name}: Resize rounds unlike RESIZE_NEAREST_NEIGHBOR and is written as two GATHER"
    )
    rows = schema.GatherOptionsT()
    rows.axis = 1
    table = context.index_tensor(indices[0].astype(np.int32), f"{node.name}/rows")
    shape = (batch, after[0], width, channels)
    tensor = context.step(
        Operator("GATHER", rows),
        [tensor, table],
        shape,
        context.type_of(value),
        f"{node.name}/tall",
    )
    columns = schema.GatherOptionsT()
    columns.axis = 2
    table = context.index_tensor(indices[1].astype(np.int32), f"{node.name}/columns")
    context.result(
        result, Operator("GATHER", columns), [tensor, table], NHWC, context.type_of(value)
    )


def _tflite_indices(before: int, after: int, *, half_pixel: bool) -> npt.NDArray[np.int64]:
    """What RESIZE_NEAREST_NEIGHBOR picks (TFLite ``GetNearestNeighbor``, float32 arithmetic)."""
    scale = np.float32(before) / np.float32(after)
    offset = np.float32(0.5 if half_pixel else 0.0)
    position = (np.arange(after, dtype=np.float32) + offset) * scale
    picked: npt.NDArray[np.int64] = np.clip(np.floor(position), 0, before - 1).astype(np.int64)
    return picked
