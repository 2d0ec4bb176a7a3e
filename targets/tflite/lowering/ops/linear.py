"""Gemm and MatMul: FULLY_CONNECTED with constant weights, else BATCH_MATMUL."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    optional_input,
    required_input,
)
from edgekit.targets.tflite.lowering.accumulator import bias_in_accumulator, needed_zero_bias
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.fusion import bias_of
from edgekit.targets.tflite.lowering.layout import Axes, identity
from edgekit.targets.tflite.lowering.ops.batch_matmul import Factor, plan_product
from edgekit.targets.tflite.lowering.quantization import FLOAT32, Parameter
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.weight_only import layer_weights

_MATRIX = 2
_KEEP_DIMS_VERSION = 5


@lowers(
    "Gemm",
    accepts="matrices; with constant weights, a bias for each output unit",
    integer=True,
    int16=True,
)
def lower_gemm(context: LoweringContext, node: ir.Node) -> None:
    """Gemm ``alpha * A @ B + beta * C`` -> FULLY_CONNECTED with weights [M, K] and bias [M].

    Without constant weights it is a BATCH_MATMUL, a MUL and an ADD.
    """
    value, factor = required_input(node, 0), required_input(node, 1)
    if context.constant(factor) is None or context.constant(value) is not None:
        _lower_computed_gemm(context, node)
        return
    rows_are_units = bool(int_attribute(node, "transB", 0))
    weights = layer_weights(context, factor, "weight", axis=0 if rows_are_units else 1)
    if not rows_are_units:
        weights = weights.rearranged(lambda w: w.T, axis=0)
    weights = _scaled(weights, float_attribute(node, "alpha", 1.0))
    bias = optional_input(node, 2)
    transposed = bool(int_attribute(node, "transA", 0))
    tensors = [
        context.tensor(value, (1, 0)) if transposed else context.flattened(value),
        context.weight(in_stored_order(context, value, weights), str(factor.name)),
        _bias(context, node, bias, weights, float_attribute(node, "beta", 1.0)),
    ]
    activation, result = context.fused_activation(node)
    operator = _fully_connected(activation, keep_dims=False)
    context.result(result, operator, tensors, identity(_MATRIX))


def _lower_computed_gemm(context: LoweringContext, node: ir.Node) -> None:
    """A Gemm of two computed matrices; on integers only where it is a bare product."""
    left = Factor(required_input(node, 0), bool(int_attribute(node, "transA", 0)))
    right = Factor(required_input(node, 1), bool(int_attribute(node, "transB", 0)))
    alpha, bias = float_attribute(node, "alpha", 1.0), optional_input(node, 2)
    result = node.outputs[0]
    if alpha != 1.0 or bias is not None:
        context.integer = False
    product = plan_product(context, left, right, result)
    if alpha == 1.0 and bias is None:
        context.result(result, product.operator, product.inputs, product.axes)
        return
    shape, name = context.shape(result), str(result.name)
    total = context.step(product.operator, product.inputs, shape, FLOAT32, f"{name}/product")
    if alpha != 1.0:
        multiply = Operator("MUL", schema.MulOptionsT())
        operands = [total, context.scalar(alpha, f"{name}/alpha")]
        if bias is None:
            context.result(result, multiply, operands, product.axes)
            return
        total = context.step(multiply, operands, shape, FLOAT32, f"{name}/scaled")
    addend = _scaled_addend(context, required_input(node, 2), float_attribute(node, "beta", 1.0))
    context.result(result, Operator("ADD", schema.AddOptionsT()), [total, addend], product.axes)


def _scaled_addend(context: LoweringContext, value: ir.Value, beta: float) -> int:
    """``beta * C`` of a Gemm whose C broadcasts to the product."""
    array = context.constant(value)
    if array is not None:
        scaled = (array * np.float32(beta)).astype(np.float32)
        return context.operand(Parameter(scaled, FLOAT32), str(value.name))
    tensor = context.tensor(value, identity(context.rank(value)))
    if beta == 1.0:
        return tensor
    operands = [tensor, context.scalar(beta, f"{value.name}/beta")]
    multiply = Operator("MUL", schema.MulOptionsT())
    return context.step(multiply, operands, context.shape(value), FLOAT32, f"{value.name}/scaled")


@lowers("MatMul", accepts="ranks 2 to 5, batch axes that broadcast", integer=True, int16=True)
def lower_matmul(context: LoweringContext, node: ir.Node) -> None:
    """MatMul -> FULLY_CONNECTED where one factor is a constant matrix, else BATCH_MATMUL."""
    left, right = required_input(node, 0), required_input(node, 1)
    first, second = context.constant(left), context.constant(right)
    if first is None and second is not None and second.ndim == _MATRIX:
        _multiply_by_weights(context, node)
    elif (
        second is None
        and first is not None
        and first.ndim == _MATRIX
        and (context.integer or _columns_last(context, right))
    ):
        _weights_times(context, node)
    else:
        product = plan_product(context, Factor(left), Factor(right), node.outputs[0])
        context.result(node.outputs[0], product.operator, product.inputs, product.axes)


def _multiply_by_weights(context: LoweringContext, node: ir.Node) -> None:
    """``x @ W`` -> FULLY_CONNECTED over the last axis.

    An Add of a constant for each output unit that alone reads the product becomes the bias.
    """
    value = required_input(node, 0)
    rank = context.rank(value)
    weights = layer_weights(context, required_input(node, 1), "second factor", axis=1)
    if rank < _MATRIX:
        raise Refusal(f"a product of ranks {rank} and {_MATRIX}", "ranks 2 to 5")
    stored = in_stored_order(context, value, weights.rearranged(lambda w: w.T, axis=0))
    axes = _last(context.axes(value), rank - 1)
    tensor = context.flattened(value) if rank == _MATRIX else context.tensor(value, axes)
    if rank == _MATRIX:
        axes = identity(_MATRIX)
    addition = context.biases.get(node)
    addend = None if addition is None else bias_of(addition, node.outputs[0])
    bias = _bias(context, node, addend, stored, 1.0)
    activation, result = context.fused_activation(node)
    tensors = [tensor, context.weight(stored, str(required_input(node, 1).name)), bias]
    context.result(result, _fully_connected(activation, keep_dims=rank > _MATRIX), tensors, axes)


def _weights_times(context: LoweringContext, node: ir.Node) -> None:
    """``W @ x`` -> FULLY_CONNECTED of ``x`` with its columns stored last: ``x^T @ W^T``.

    The result is stored transposed likewise.
    """
    factor, value = required_input(node, 0), required_input(node, 1)
    rank = context.rank(value)
    if rank < _MATRIX:
        raise Refusal(f"a product of ranks {_MATRIX} and {rank}", "ranks 2 to 5")
    weights = context.parameter(factor, "first factor")
    axes = _last(context.axes(value), rank - 2)
    tensors = [context.tensor(value, axes), context.weight(weights, str(factor.name)), -1]
    operator = _fully_connected(0, keep_dims=rank > _MATRIX)
    context.result(node.outputs[0], operator, tensors, axes)


def _columns_last(context: LoweringContext, value: ir.Value) -> bool:
    """Whether the axis that a product of constant rows runs over is stored last."""
    rank = context.rank(value)
    return rank >= _MATRIX and context.axes(value)[-1] == rank - 2


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


def _last(axes: Axes, last: int) -> Axes:
    return (*(axis for axis in axes if axis != last), last)


def _fully_connected(activation: int, *, keep_dims: bool) -> Operator:
    options = schema.FullyConnectedOptionsT()
    options.fusedActivationFunction = activation
    options.keepNumDims = keep_dims
    return Operator("FULLY_CONNECTED", options, _KEEP_DIMS_VERSION if keep_dims else 1)
