"""Gemm and MatMul: FULLY_CONNECTED."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.accumulator import bias_in_accumulator, needed_zero_bias
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.fusion import bias_of
from edgekit.targets.tflite.lowering.layout import Axes, identity
from edgekit.targets.tflite.lowering.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.quantization import Parameter
from edgekit.targets.tflite.lowering.registry import lowers

_MATRIX = 2
_KEEP_DIMS_VERSION = 5


@lowers(
    "Gemm",
    accepts="an activation of rank 2 with constant weights and bias, transA=0",
    integer=True,
    int16=True,
)
def lower_gemm(context: LoweringContext, node: ir.Node) -> None:
    """Gemm ``alpha * x @ B + beta * C`` -> FULLY_CONNECTED with weights [M, K] and bias [M]."""
    if int_attribute(node, "transA", 0):
        raise Refusal("transA=1", "transA=0")
    value = required_input(node, 0)
    weights = context.parameter(required_input(node, 1), "weight")
    if not int_attribute(node, "transB", 0):
        weights = weights.rearranged(lambda w: w.T, axis=0)
    weights = _scaled(weights, float_attribute(node, "alpha", 1.0))
    bias = optional_input(node, 2)
    tensors = [
        context.flattened(value),
        context.weight(
            in_stored_order(context, value, weights), str(required_input(node, 1).name)
        ),
        _bias(context, node, bias, weights, float_attribute(node, "beta", 1.0)),
    ]
    activation, result = context.fused_activation(node)
    operator = _fully_connected(activation, keep_dims=False)
    context.result(result, operator, tensors, identity(_MATRIX))


@lowers("MatMul", accepts="an activation times a constant matrix", integer=True, int16=True)
def lower_matmul(context: LoweringContext, node: ir.Node) -> None:
    """MatMul ``x @ W`` with a constant W of rank 2 -> FULLY_CONNECTED over the last axis.

    An Add of a constant for each output unit that alone reads the product becomes the bias.
    """
    value = required_input(node, 0)
    rank = context.rank(value)
    weights = context.parameter(required_input(node, 1), "second factor")
    if weights.array.ndim != _MATRIX or rank < _MATRIX:
        raise Refusal(
            f"a product of ranks {rank} and {weights.array.ndim}",
            "an activation of rank 2 or more times a constant matrix",
        )
    stored = in_stored_order(context, value, weights.rearranged(lambda w: w.T, axis=0))
    axes = _last_axis_last(context.axes(value))
    tensor = context.flattened(value) if rank == _MATRIX else context.tensor(value, axes)
    if rank == _MATRIX:
        axes = identity(_MATRIX)
    addition = context.biases.get(node)
    addend = None if addition is None else bias_of(addition, node.outputs[0])
    bias = _bias(context, node, addend, stored, 1.0)
    activation, result = context.fused_activation(node)
    tensors = [tensor, context.weight(stored, str(required_input(node, 1).name)), bias]
    context.result(result, _fully_connected(activation, keep_dims=rank > _MATRIX), tensors, axes)


def in_stored_order(context: LoweringContext, value: ir.Value, weights: Parameter) -> Parameter:
    """Weights [M, K] with their columns in the order the features of ``value`` are stored."""
    order = context.feature_order.get(value)
    return weights if order is None else weights.rearranged(lambda w: w[:, order], axis=0)


def _scaled(weights: Parameter, factor: float) -> Parameter:
    if factor == 1.0:
        return weights
    if weights.type.quantization is not None:
        raise Refusal(f"quantized weights with alpha={factor}", "alpha=1")
    return Parameter(weights.array * np.float32(factor), weights.type)


def _bias(
    context: LoweringContext,
    node: ir.Node,
    value: ir.Value | None,
    weights: Parameter,
    factor: float,
) -> int:
    """The bias of weights [M, K] as a tensor; -1 where there is none."""
    if value is None:
        zeros = needed_zero_bias(context, node, weights)
        return -1 if zeros is None else context.weight(zeros, f"{node.name}/zero_bias")
    bias, units = context.parameter(value, "bias"), weights.array.shape[0]
    if bias.array.size not in {1, units}:
        raise Refusal(f"a bias of shape {bias.array.shape}", "a bias for each output unit")
    flat = bias.rearranged(lambda b: np.broadcast_to(b.reshape(-1), (units,)), axis=0)
    made = bias_in_accumulator(context, node, weights, _scaled(flat, factor))
    return context.weight(made, str(value.name))


def _last_axis_last(axes: Axes) -> Axes:
    last = len(axes) - 1
    return (*(axis for axis in axes if axis != last), last)


def _fully_connected(activation: int, *, keep_dims: bool) -> Operator:
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    options.keepNumDims = keep_dims
    return Operator("FULLY_CONNECTED", options, _KEEP_DIMS_VERSION if keep_dims else 1)
