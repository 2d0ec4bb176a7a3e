"""LayerNormalization, InstanceNormalization and GroupNormalization.

In float: ``y = (x - mean) * rsqrt(mean((x - mean)**2) + epsilon) * scale + bias`` as MEAN, SUB,
MUL, ADD and RSQRT, all of which XNNPACK runs over any axes. LayerNormalization on integers is
written by `edgekit.targets.tflite.lowering.integer_normalization`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.context import Array, LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.integer_normalization import (
    FASTER_IN_FLOAT,
    Normalization,
    Reals,
    write_normalization,
)
from edgekit.targets.tflite.lowering.layout import Dim, stored_shape
from edgekit.targets.tflite.lowering.ops.binary import broadcast_operand
from edgekit.targets.tflite.lowering.quantization import FLOAT32, Parameter
from edgekit.targets.tflite.lowering.registry import lowers

_EPSILON = 1e-5


@lowers("LayerNormalization", accepts="the output Y alone; int8 over the last axis", integer=True)
def lower_layer_norm(context: LoweringContext, node: ir.Node) -> None:
    """LayerNormalization over the axes from ``axis`` on, stored in any order.

    Over the last axis alone that axis is stored last: what follows is a product, which wants it
    there, and so does the sum around both.
    """
    value, result = required_input(node, 0), node.outputs[0]
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        raise Refusal("the outputs Mean or InvStdDev are used", "the normalized output alone")
    rank, axes = context.rank(value), context.axes(value)
    first = normalized_axis(int_attribute(node, "axis", -1), rank)
    if first == rank - 1:
        axes = (*(axis for axis in axes if axis != first), first)
    positions = [axes.index(axis) for axis in range(first, rank)]
    stored = stored_shape(context.shape(value), axes)
    epsilon = float_attribute(node, "epsilon", _EPSILON)
    name = str(result.name)
    _leave_to_float(context, node, first == rank - 1 and isinstance(stored[-1], int))
    if context.integer:
        what = Normalization(stored, epsilon, *_constants(context, node), name)
        tensor = context.tensor(value, axes)
        made = write_normalization(context, tensor, context.type_of(result), what)
        context.bind(result, made, axes)
        return
    tensor = _normalized(context, context.tensor(value, axes), stored, positions, epsilon, name)
    affine = [
        -1 if operand is None else broadcast_operand(context, operand, axes)
        for operand in (
            _unless_constant(context, required_input(node, 1), 1.0),
            _unless_constant(context, optional_input(node, 2), 0.0),
        )
    ]
    tensor = _scaled_and_shifted(context, tensor, affine, stored, name)
    context.bind(result, tensor, axes)


def _leave_to_float(context: LoweringContext, node: ir.Node, last_axis: bool) -> None:
    """Computes in float where that is faster, or there is no way on integers."""
    scale, bias = required_input(node, 1), optional_input(node, 2)
    if not last_axis:
        context.compute_in_float("integers are normalized over the last axis alone")
    elif any(item is not None and context.constant(item) is None for item in (scale, bias)):
        context.compute_in_float("its scale or bias is computed at run time")
    elif not context.integer_normalization:
        context.compute_in_float(FASTER_IN_FLOAT)


def _constants(context: LoweringContext, node: ir.Node) -> tuple[Reals | None, Reals | None]:
    """Scale and bias, None for ones and zeros."""
    scale = context.required_constant(required_input(node, 1), "scale").astype(np.float64)
    bias = optional_input(node, 2)
    shift = None if bias is None else context.required_constant(bias, "bias").astype(np.float64)
    return (
        None if (scale == 1.0).all() else scale,
        None if shift is None or not shift.any() else shift,
    )


@lowers("InstanceNormalization", accepts="constant scale and bias, float32")
def lower_instance_norm(context: LoweringContext, node: ir.Node) -> None:
    """InstanceNormalization over all spatial axes of ``[N, C, ...]``."""
    _normalize_channels(context, node, None)


@lowers("GroupNormalization", accepts="constant scale and bias for each group, float32")
def lower_group_norm(context: LoweringContext, node: ir.Node) -> None:
    """GroupNormalization of opset 18: the channels are cut into groups by a RESHAPE.

    `edgekit.graph.passes.fuse_group_norm` makes it; in the canonical opset it is deprecated.
    """
    _normalize_channels(context, node, int_attribute(node, "num_groups", 1))


def _normalize_channels(context: LoweringContext, node: ir.Node, groups: int | None) -> None:
    """Normalizes over all but the batch and the channels, or groups of them."""
    value, result = required_input(node, 0), node.outputs[0]
    shape, axes = context.shape(value), context.axes(value)
    whole = stored_shape(shape, axes)
    place = axes.index(1)
    stored, channels = whole, shape[1]
    if groups is not None:
        if isinstance(channels, str):
            raise Refusal("groups of a dynamic axis", "static channels")
        stored = (*whole[:place], groups, channels // groups, *whole[place + 1 :])
    batch = axes.index(0) + (groups is not None and axes.index(0) > place)
    positions = [i for i in range(len(stored)) if i not in {batch, place}]
    name, epsilon = str(result.name), float_attribute(node, "epsilon", _EPSILON)
    tensor = context.reshape(context.tensor(value), stored, FLOAT32, f"{name}/groups")
    tensor = _normalized(context, tensor, stored, positions, epsilon, name)
    affine = []
    for index, neutral in ((1, 1.0), (2, 0.0)):
        operand = required_input(node, index)
        array = context.required_constant(operand, "scale or bias")
        if (array == neutral).all():
            affine.append(-1)
            continue
        aligned = array.reshape(-1, *[1] * (len(stored) - place - 1))
        affine.append(context.operand(Parameter(aligned, FLOAT32), str(operand.name)))
    tensor = _scaled_and_shifted(context, tensor, affine, stored, name)
    context.bind(result, context.reshape(tensor, whole, FLOAT32, name), axes)


def _normalized(
    context: LoweringContext,
    tensor: int,
    stored: Sequence[Dim],
    positions: Sequence[int],
    epsilon: float,
    name: str,
) -> int:
    """``(x - mean) * rsqrt(variance + epsilon)`` over stored axes."""
    kept = [1 if place in positions else dim for place, dim in enumerate(stored)]
    options = schema.ReducerOptionsT()
    options.keepDims = True
    mean = Operator("MEAN", options)
    multiply = Operator("MUL", schema.MulOptionsT())
    axes = context.index_tensor(np.array(sorted(positions), np.int32), f"{name}/axes")
    centre = context.step(mean, [tensor, axes], kept, FLOAT32, f"{name}/mean")
    subtract = Operator("SUB", schema.SubOptionsT())
    centred = context.step(subtract, [tensor, centre], stored, FLOAT32, f"{name}/centred")
    square = context.step(multiply, [centred, centred], stored, FLOAT32, f"{name}/square")
    variance = context.step(mean, [square, axes], kept, FLOAT32, f"{name}/variance")
    offset = context.scalar(epsilon, f"{name}/epsilon")
    add = Operator("ADD", schema.AddOptionsT())
    positive = context.step(add, [variance, offset], kept, FLOAT32, f"{name}/positive")
    inverse = context.step(Operator("RSQRT"), [positive], kept, FLOAT32, f"{name}/inverse")
    return context.step(multiply, [centred, inverse], stored, FLOAT32, f"{name}/normalized")


def _scaled_and_shifted(
    context: LoweringContext, tensor: int, affine: Sequence[int], stored: Sequence[Dim], name: str
) -> int:
    """``x * scale + bias``; -1 stands for a scale of one or a bias of zero."""
    scale, bias = affine
    if scale >= 0:
        operator = Operator("MUL", schema.MulOptionsT())
        tensor = context.step(operator, [tensor, scale], stored, FLOAT32, f"{name}/scaled")
    if bias >= 0:
        operator = Operator("ADD", schema.AddOptionsT())
        tensor = context.step(operator, [tensor, bias], stored, FLOAT32, f"{name}/shifted")
    return tensor


def _unless_constant(
    context: LoweringContext, value: ir.Value | None, number: float
) -> ir.Value | None:
    """The operand, or None where it is that number everywhere."""
    array: Array | None = context.constant(value)
    return None if value is None or (array is not None and (array == number).all()) else value
