"""Slice and Split."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.node_view import (
    Refusal,
    int_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.registry import lowers


@lowers(
    "Slice",
    accepts="constant starts, ends and axes; positive steps; not along the batch",
    integer=True,
    int16=True,
)
def lower_slice(context: LoweringContext, node: ir.Node) -> None:
    """Slice -> SLICE, or STRIDED_SLICE where a step is above 1."""
    value, result = required_input(node, 0), node.outputs[0]
    shape = context.shape(value)
    rank = len(shape)
    starts = context.required_constant(required_input(node, 1), "starts").reshape(-1)
    ends = context.required_constant(required_input(node, 2), "ends").reshape(-1)
    listed, stepped = optional_input(node, 3), optional_input(node, 4)
    chosen = range(len(starts)) if listed is None else context.required_constant(listed, "axes")
    steps = (
        np.ones(len(starts), np.int64)
        if stepped is None
        else context.required_constant(stepped, "steps").reshape(-1)
    )
    begin, end, step = (
        [0] * rank,
        [dim if isinstance(dim, int) else -1 for dim in shape],
        [1] * rank,
    )
    for first, last, stride, listed_axis in zip(starts, ends, steps, chosen, strict=True):
        axis = normalized_axis(int(listed_axis), rank)
        size = shape[axis]
        if isinstance(size, str):
            raise Refusal("a slice along a dynamic axis", "static axes")
        if stride < 1:
            raise Refusal(f"step {stride}", "steps of at least 1")
        begin[axis], end[axis], _ = slice(int(first), int(last)).indices(size)
        step[axis] = int(stride)
    if value in context.non_negative:
        context.non_negative.add(result)
    _write_slice(context, node, (begin, end, step))


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
    """Split -> SPLIT for equal parts (which XNNPACK runs), SPLIT_V for others."""
    value = required_input(node, 0)
    rank = context.rank(value)
    axis = normalized_axis(int_attribute(node, "axis", 0), rank)
    axes = context.axes(value)
    sizes = [context.shape(output)[axis] for output in node.outputs]
    if any(isinstance(size, str) for size in sizes):
        raise Refusal("a split of the dynamic axis", "static axes")
    position = context.index_tensor(np.array(axes.index(axis), np.int32), f"{node.name}/axis")
    outputs = []
    for output in node.outputs:
        shape = [context.shape(output)[other] for other in axes]
        tensor = context.model.add_tensor(str(output.name), shape, context.type_of(value))
        outputs.append(tensor)
        context.bind(output, tensor, axes)
        if value in context.non_negative:
            context.non_negative.add(output)
    if len(set(sizes)) == 1:
        options = schema.SplitOptionsT()
        options.numSplits = len(sizes)
        operator, inputs = Operator("SPLIT", options), [position, context.tensor(value)]
    else:
        options = schema.SplitVOptionsT()
        options.numSplits = len(sizes)
        lengths = context.index_tensor(np.array(sizes, np.int32), f"{node.name}/sizes")
        operator, inputs = (
            Operator("SPLIT_V", options),
            [context.tensor(value), lengths, position],
        )
    context.model.add_operator(operator, inputs, outputs)
