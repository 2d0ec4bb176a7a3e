"""Gemm and MatMul: FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import Array, LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.layout import Axes, identity
from edgekit.targets.tflite.lowering.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.registry import lowers

_MATRIX = 2
_KEEP_DIMS_VERSION = 5


@lowers("Gemm", accepts="an activation of rank 2 with constant weights and bias, transA=0")
def lower_gemm(context: LoweringContext, node: ir.Node) -> None:
    """Gemm ``alpha * x @ B + beta * C`` -> FULLY_CONNECTED with weights [M, K] and bias [M]."""
    if int_attribute(node, "transA", 0):
        raise Refusal("transA=1", "transA=0")
    value = required_input(node, 0)
    weights = context.required_constant(required_input(node, 1), "weight")
    if not int_attribute(node, "transB", 0):
        weights = weights.T
    weights = weights * np.float32(float_attribute(node, "alpha", 1.0))
    bias = _gemm_bias(context, node, weights.shape[0])
    activation, result = context.fused_activation(node)
    weights = in_stored_order(context, value, weights)
    tensors = [
        context.stored(value).tensor
        if value in context.feature_order
        else context.tensor(value, identity(_MATRIX)),
        context.weight(weights, str(required_input(node, 1).name)),
        -1 if bias is None else context.weight(bias, f"{node.name}/bias"),
    ]
    operator = _fully_connected(activation, keep_dims=False)
    context.result(result, operator, tensors, identity(_MATRIX))


@lowers("MatMul", accepts="an activation times a constant matrix")
def lower_matmul(context: LoweringContext, node: ir.Node) -> None:
    """MatMul ``x @ W`` with a constant W of rank 2 -> FULLY_CONNECTED over the last axis."""
    value = required_input(node, 0)
    weights = context.required_constant(required_input(node, 1), "second factor")
    rank = context.rank(value)
    if weights.ndim != _MATRIX or rank < _MATRIX:
        raise Refusal(
            f"a product of ranks {rank} and {weights.ndim}",
            "an activation of rank 2 or more times a constant matrix",
        )
    activation, result = context.fused_activation(node)
    stored = in_stored_order(context, value, weights.T)
    if value in context.feature_order:
        tensor, axes = context.stored(value).tensor, identity(_MATRIX)
    else:
        axes = _last_axis_last(context.axes(value))
        tensor = context.tensor(value, axes)
    tensors = [tensor, context.weight(stored, str(required_input(node, 1).name)), -1]
    context.result(result, _fully_connected(activation, keep_dims=rank > _MATRIX), tensors, axes)


def in_stored_order(context: LoweringContext, value: ir.Value, weights: Array) -> Array:
    """Weights [M, K] with their columns in the order the features of ``value`` are stored."""
    order = context.feature_order.get(value)
    return weights if order is None else weights[:, order]


def _last_axis_last(axes: Axes) -> Axes:
    last = len(axes) - 1
    return (*(axis for axis in axes if axis != last), last)


def _gemm_bias(context: LoweringContext, node: ir.Node, units: int) -> Array | None:
    value = optional_input(node, 2)
    if value is None:
        return None
    bias = context.required_constant(value, "bias")
    if bias.size not in {1, units}:
        raise Refusal(f"a bias of shape {bias.shape}", "a bias for each output unit")
    scaled = bias.reshape(-1) * np.float32(float_attribute(node, "beta", 1.0))
    return np.broadcast_to(scaled, (units,)).copy()


def _fully_connected(activation: int, *, keep_dims: bool) -> Operator:
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    options.keepNumDims = keep_dims
    return Operator("FULLY_CONNECTED", options, _KEEP_DIMS_VERSION if keep_dims else 1)
