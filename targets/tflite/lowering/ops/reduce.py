"""Reductions over axes, and ArgMax/ArgMin."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    ints_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.layout import Axes, without_axes
from edgekit.targets.tflite.lowering.quantization import TensorType
from edgekit.targets.tflite.lowering.registry import lowers

_REDUCERS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}


_PICKS = frozenset({"ReduceMax", "ReduceMin"})
"""Reductions to one of the elements, whose integer kernels give it with the input's scale."""


@lowers(
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    accepts="constant axes",
    integer=True,
    int16=True,
)
@lowers("ReduceProd", accepts="constant axes")
def lower_reduce(context: LoweringContext, node: ir.Node) -> None:
    """A reduction -> MEAN, SUM, REDUCE_MAX ... over the stored positions of its axes."""
    value, result = required_input(node, 0), node.outputs[0]
    rank = context.rank(value)
    reduced = [normalized_axis(axis, rank) for axis in _reduced_axes(context, node, rank)]
    if not reduced:
        context.bind(result, context.tensor(value), context.axes(value))
        return
    keep = bool(int_attribute(node, "keepdims", 1))
    axes = context.axes(value)
    positions = np.array(sorted(axes.index(axis) for axis in reduced), np.int32)
    options = schema.ReducerOptionsT()
    options.keepDims = keep
    inputs = [context.tensor(value), context.index_tensor(positions, f"{node.name}/axes")]
    if not keep and len(set(reduced)) == rank:
        _reduce_to_scalar(context, node, inputs)
        return
    remaining: Axes = axes if keep else without_axes(axes, reduced)
    if value in context.non_negative and node.op_type != "ReduceProd":
        context.non_negative.add(result)
    operator = Operator(_REDUCERS[node.op_type], options)
    context.result(result, operator, inputs, remaining, _made_type(context, node))


def _made_type(context: LoweringContext, node: ir.Node) -> TensorType:
    """Type that the kernel gives its result."""
    picks = node.op_type in _PICKS
    return context.type_of(required_input(node, 0) if picks else node.outputs[0])


def _reduce_to_scalar(context: LoweringContext, node: ir.Node, inputs: list[int]) -> None:
    """A reduction of everything: kernels leave one axis, which a RESHAPE removes."""
    value, result = required_input(node, 0), node.outputs[0]
    options = schema.ReducerOptionsT()
    options.keepDims = True
    rank = context.rank(value)
    name = f"{result.name}/kept"
    operator = Operator(_REDUCERS[node.op_type], options)
    made = _made_type(context, node)
    kept = context.step(operator, inputs, [1] * rank, made, name)
    scalar = context.reshape(kept, (), made, str(result.name))
    context.bind(result, scalar, ())


@lowers("ArgMax", "ArgMin", accepts="the first of equal values")
def lower_arg_extreme(context: LoweringContext, node: ir.Node) -> None:
    """ArgMax, ArgMin -> ARG_MAX, ARG_MIN, which drop the axis."""
    if int_attribute(node, "select_last_index", 0):
        raise Refusal("select_last_index=1", "select_last_index=0")
    value, result = required_input(node, 0), node.outputs[0]
    axis = normalized_axis(int_attribute(node, "axis", 0), context.rank(value))
    axes = context.axes(value)
    is_max = node.op_type == "ArgMax"
    options = schema.ArgMaxOptionsT() if is_max else schema.ArgMinOptionsT()
    options.outputType = TENSOR_TYPES["int64"]
    position = context.index_tensor(np.array(axes.index(axis), np.int32), f"{node.name}/axis")
    operator = Operator("ARG_MAX" if is_max else "ARG_MIN", options)
    inputs = [context.tensor(value), position]
    if not int_attribute(node, "keepdims", 1):
        context.result(result, operator, inputs, without_axes(axes, [axis]))
        return
    shape = context.shape(value)
    dropped = [shape[other] for other in axes if other != axis]
    tensor = context.step(operator, inputs, dropped, TensorType("int64"), f"{result.name}/dropped")
    kept = [1 if other == axis else shape[other] for other in axes]
    context.bind(
        result, context.reshape(tensor, kept, TensorType("int64"), str(result.name)), axes
    )


def _reduced_axes(context: LoweringContext, node: ir.Node, rank: int) -> list[int]:
    value = optional_input(node, 1)
    if value is not None:
        listed = [int(axis) for axis in context.required_constant(value, "axes").reshape(-1)]
    else:
        listed = list(ints_attribute(node, "axes", ()))
    if listed or int_attribute(node, "noop_with_empty_axes", 0):
        return listed
    return list(range(rank))
