"""In what a layer on 16-bit activations sums up, which its bias decides.

LiteRT sums products of 16-bit activations and 8-bit weights in the type of the bias. int64 holds
any sum, but its kernels are plain loops; int32 runs optimized ones, 25 to 30 times as fast with
LiteRT 2.1.2, and wraps around without a word. So a bias stays int32, as the QDQ graph has it,
where no input can overflow; elsewhere the same integers are stored as int64. DEPTHWISE_CONV_2D
accepts int64 alone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.quantization import Parameter, accumulator_type

_LIMIT = 2**31 - 1
_LARGEST_INPUT = 2**15


def bias_in_accumulator(
    context: LoweringContext, node: ir.Node, weights: Parameter, bias: Parameter
) -> Parameter:
    """The bias in the type in which the layer sums.

    Args:
        context: The lowering.
        node: The layer; its input 0 is the activation.
        weights: In ONNX's order for convolutions, ``[M, K]`` for others.
        bias: ``[M]`` or ``[1]``.
    """
    value = required_input(node, 0)
    if context.type_of(value).dtype != "int16" or not _is_integer(bias):
        return bias
    wide = _is_depthwise(node, weights) or not _fits_int32(context, node, weights, bias)
    dtype = "int64" if wide else "int32"
    return Parameter(bias.array.astype(dtype), replace(bias.type, dtype=dtype))


def needed_zero_bias(
    context: LoweringContext, node: ir.Node, weights: Parameter
) -> Parameter | None:
    """Zeros in int64 for a layer without a bias that would overflow int32, else None.

    Args:
        context: The lowering.
        node: The layer; its input 0 is the activation.
        weights: ``[M, K]``.
    """
    activation = context.type_of(required_input(node, 0))
    if activation.dtype != "int16":
        return None
    kind = accumulator_type(activation, weights.type)
    zeros = Parameter(np.zeros(weights.array.shape[0], np.int32), kind)
    made = bias_in_accumulator(context, node, weights, zeros)
    return made if made.type.dtype == "int64" else None


def _is_integer(parameter: Parameter) -> bool:
    return parameter.type.quantization is not None


def _is_depthwise(node: ir.Node, weights: Parameter) -> bool:
    grouped = "group" in node.attributes and node.attributes["group"].as_int() > 1
    return node.op_type == "Conv" and grouped and weights.array.shape[1] == 1


def _fits_int32(
    context: LoweringContext, node: ir.Node, weights: Parameter, bias: Parameter
) -> bool:
    """Whether no input makes a sum, or a part of one, that int32 does not hold."""
    integers = weights.array.astype(np.int64)
    axis = 1 if node.op_type == "ConvTranspose" else 0
    others = tuple(other for other in range(integers.ndim) if other != axis)
    above = np.maximum(integers, 0).sum(axis=others)
    below = np.maximum(-integers, 0).sum(axis=others)
    never_negative = required_input(node, 0) in context.non_negative
    largest = np.maximum(above, below) if never_negative else above + below
    total = largest * _LARGEST_INPUT + np.abs(bias.array.astype(np.int64)).max()
    return bool((total <= _LIMIT).all())
