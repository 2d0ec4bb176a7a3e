"""Slice and Split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import stored_shape
from edgekit.targets.tflite.lowering.registry import lowers

_SPLITS = range(2, 5)
"""Numbers of parts that XNNPACK (LiteRT 2.1.2) splits into."""


@lowers(
    "Slice",
    accepts="constant starts, ends, axes and steps; not along the batch",
    integer=True,
    int16=True,
)
def lower_slice(context: LoweringContext, node: ir.Node) -> None:
    """Slice -> SLICE, STRIDED_SLICE where a step is above 1, GATHER where it is negative."""
    value, result = required_input(node, 0), node.outputs[0]
    shape = context.shape(value)
    begin, step = [0] * len(shape), [1] * len(shape)
    end = [dim if isinstance(dim, int) else -1 for dim in shape]
    backwards: dict[int, range] = {}
    for axis, chosen in _chosen(context, node):
        size = shape[axis]
        if isinstance(size, str):
            raise Refusal("a slice along a dynamic axis", "static axes")
        begin[axis], end[axis], step[axis] = chosen.indices(size)
        if step[axis] < 0:
            backwards[axis] = range(begin[axis], end[axis], step[axis])
    if value in context.non_negative:
        context.non_negative.add(result)
    if backwards:
        forwards = [axis for axis in range(len(shape)) if axis not in backwards]
        if any(begin[a] or step[a] != 1 or end[a] not in {-1, shape[a]} for a in forwards):
            raise Refusal("steps of both signs", "steps of one sign")
        _write_gathers(context, node, backwards)
    else:
        _write_slice(context, node, (begin, end, step))


def _chosen(context: LoweringContext, node: ir.Node) -> list[tuple[int, slice]]:
    """The slice of each axis that the node names."""
    rank = context.rank(required_input(node, 0))
    parts = [
        context.required_constant(required_input(node, index), role).reshape(-1)
        for index, role in ((1, "starts"), (2, "ends"))
    ]
    listed, stepped = optional_input(node, 3), optional_input(node, 4)
    count = len(parts[0])
    axes = range(count) if listed is None else context.required_constant(listed, "axes")
    steps = [1] * count if stepped is None else context.required_constant(stepped, "steps")
    return [
        (normalized_axis(int(axis), rank), slice(int(first), int(last), int(stride)))
        for first, last, stride, axis in zip(*parts, steps, axes, strict=True)
    ]


def _write_gathers(context: LoweringContext, node: ir.Node, chosen: Mapping[int, range]) -> None:
    """A GATHER along each axis that is read backwards."""
    value, result = required_input(node, 0), node.outputs[0]
    axes, value_type = context.axes(value), context.type_of(value)
    tensor, shape = context.tensor(value), [context.shape(value)[axis] for axis in axes]
    for place, (axis, indices) in enumerate(chosen.items(), 1):
        if not indices:
            raise Refusal("an empty slice", "slices with elements")
        options = schema.GatherOptionsT()
        options.axis = axes.index(axis)
        table = context.index_tensor(np.array(indices, np.int32), f"{node.name}/backwards_{axis}")
        operator, inputs = Operator("GATHER", options), [tensor, table]
        shape[axes.index(axis)] = len(indices)
        if place == len(chosen):
            context.result(result, operator, inputs, axes, value_type)
        else:
            name = f"{result.name}/axis_{axis}"
            tensor = context.step(operator, inputs, shape, value_type, name)


def _write_slice(
    context: LoweringContext, node: ir.Node, bounds: tuple[list[int], list[int], list[int]]
) -> None:
    value, result = required_input(node, 0), node.outputs[0]
    axes, value_type = context.axes(value), context.type_of(value)
    begin, end, step = (np.array([part[axis] for axis in axes], np.int32) for part in bounds)
    inputs = [context.tensor(value), context.index_tensor(begin, f"{node.name}/begin")]
    if (step == 1).all():
        # A size of -1 takes the rest of the axis: the dynamic batch.
        size = np.where(end < 0, -1, end - begin).astype(np.int32)
        if (size == 0).any():
            raise Refusal("an empty slice", "slices with elements")
        inputs.append(context.index_tensor(size, f"{node.name}/size"))
        context.result(result, Operator("SLICE", schema.SliceOptionsT()), inputs, axes, value_type)
        return
    options = schema.StridedSliceOptionsT()
    options.endMask = sum(1 << i for i, bound in enumerate(end) if bound < 0)
    inputs.append(context.index_tensor(end, f"{node.name}/end"))
    inputs.append(context.index_tensor(step, f"{node.name}/strides"))
    context.result(result, Operator("STRIDED_SLICE", options), inputs, axes, value_type)


@lowers("Split", accepts="constant sizes, not along the batch", integer=True, int16=True)
def lower_split(context: LoweringContext, node: ir.Node) -> None:
    """Split -> SPLIT for two to four equal parts, else a SLICE for each: what XNNPACK runs."""
    value = required_input(node, 0)
    axis = normalized_axis(int_attribute(node, "axis", 0), context.rank(value))
    sizes = [context.shape(output)[axis] for output in node.outputs]
    static = [size for size in sizes if isinstance(size, int)]
    if len(static) < len(sizes):
        raise Refusal("a split of the dynamic axis", "static axes")
    if value in context.non_negative:
        context.non_negative.update(node.outputs)
    if len(set(static)) == 1 and len(static) in _SPLITS:
        _write_split(context, node, axis)
        return
    axes, start = context.axes(value), 0
    for index, (output, size) in enumerate(zip(node.outputs, static, strict=True)):
        dims = [-1 if isinstance(dim, str) else dim for dim in context.shape(output)]
        begin = [start if a == axis else 0 for a in axes]
        name = f"{node.name}/part_{index}"
        inputs = [
            context.tensor(value),
            context.index_tensor(np.array(begin, np.int32), f"{name}/begin"),
            context.index_tensor(np.array([dims[a] for a in axes], np.int32), f"{name}/size"),
        ]
        operator = Operator("SLICE", schema.SliceOptionsT())
        context.result(output, operator, inputs, axes, context.type_of(value))
        start += size


def _write_split(context: LoweringContext, node: ir.Node, axis: int) -> None:
    value = required_input(node, 0)
    axes = context.axes(value)
    position = context.index_tensor(np.array(axes.index(axis), np.int32), f"{node.name}/axis")
    outputs = []
    for output in node.outputs:
        shape = stored_shape(context.shape(output), axes)
        tensor = context.model.add_tensor(str(output.name), shape, context.type_of(value))
        outputs.append(tensor)
        context.bind(output, tensor, axes)
    options = schema.SplitOptionsT()
    options.numSplits = len(outputs)
    inputs = [position, context.tensor(value)]
    context.model.add_operator(Operator("SPLIT", options), inputs, outputs)
