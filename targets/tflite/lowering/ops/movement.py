"""Operators that only move or rename axes: Reshape, Flatten, Squeeze, Unsqueeze, Transpose."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, ints_attribute, required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.layout import (
    identity,
    plan_reshape,
    stored_shape,
    transposed,
)
from edgekit.targets.tflite.lowering.quantization import is_constant, is_in_blocks, readers
from edgekit.targets.tflite.lowering.registry import lowers

_MATRIX = 2


@lowers(
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    accepts="a shape known up to the batch",
    integer=True,
    int16=True,
)
def lower_reshape(context: LoweringContext, node: ir.Node) -> None:
    """Any change of shape -> RESHAPE, in the storage order that avoids a TRANSPOSE.

    Where an image is flattened for FULLY_CONNECTED layers alone, the features stay in their
    NHWC order and the weights' columns are permuted instead.
    """
    value, result = required_input(node, 0), node.outputs[0]
    before, after = context.shape(value), context.shape(result)
    if 0 in before or 0 in after:
        raise Refusal("an empty tensor", "tensors with elements")
    try:
        plan = plan_reshape(before, after, context.axes(value))
    except ValueError as error:
        raise Refusal(str(error), "a shape known up to the batch") from error
    if value in context.non_negative:
        context.non_negative.add(result)
    source = context.axes(value)
    batch_first = bool(source) and source[0] == 0
    if plan.source != source and batch_first and _feeds_linear_only(result, before, after):
        features = np.arange(int(np.prod([d for d in before[1:] if isinstance(d, int)])))
        order = features.reshape([int(d) for d in before[1:]])
        context.feature_order[result] = order.transpose([a - 1 for a in source[1:]]).reshape(-1)
        plan_axes, target = source, identity(_MATRIX)
    else:
        plan_axes, target = plan.source, plan.result
    tensor = context.tensor(value, plan_axes)
    shape = stored_shape(after, target)
    if shape != stored_shape(before, plan_axes):
        tensor = context.reshape(tensor, shape, context.type_of(value), str(result.name))
    context.bind(result, tensor, target)


@lowers("Transpose", accepts="any permutation", integer=True, int16=True)
def lower_transpose(context: LoweringContext, node: ir.Node) -> None:
    """Transpose -> nothing: the stored tensor stays and its axes are renamed.

    A reader that needs another order writes the TRANSPOSE.
    """
    value, result = required_input(node, 0), node.outputs[0]
    rank = context.rank(value)
    permutation = ints_attribute(node, "perm", tuple(reversed(range(rank))))
    if value in context.non_negative:
        context.non_negative.add(result)
    axes = context.axes(value)
    context.bind(result, context.tensor(value, axes), transposed(axes, permutation))


def _feeds_linear_only(
    result: ir.Value, before: tuple[int | str, ...], after: tuple[int | str, ...]
) -> bool:
    """Whether a flattened value is read by Gemm or MatMul with constant weights alone."""
    if len(after) != _MATRIX or before[0] != after[0] or result.is_graph_output():
        return False
    if any(isinstance(dim, str) for dim in before[1:]):
        return False
    uses = readers(result)
    return bool(uses) and all(
        use.idx == 0
        and use.node.op_type in {"Gemm", "MatMul"}
        and use.node.inputs[1] is not None
        and is_constant(use.node.inputs[1])
        # Columns that share a block cannot be moved apart.
        and not is_in_blocks(use.node.inputs[1])
        and not ("transA" in use.node.attributes and use.node.attributes["transA"].as_int())
        for use in uses
    )
