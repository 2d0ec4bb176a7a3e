"""QuantizeLinear and DequantizeLinear: in pairs as fake quantization, alone as what they are."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.dtypes import LIMITS, TORCH_TYPES
from edgekit.graph.torch_twin.qdq import find_pair
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import input_at, int_attribute, is_op


@twin_op("QuantizeLinear")
def build_quantize(context: TwinContext, node: ir.Node) -> Built:
    """In a pair, the DequantizeLinear makes both; alone, integers without a gradient."""
    if find_pair(node) is not None:
        return None
    dtype = node.outputs[0].dtype
    if dtype not in TORCH_TYPES or dtype not in LIMITS:
        raise Refusal(f"quantization to {dtype}", "int8, uint8, int16 or int32")
    return context.call(
        quantize_linear, context.tensor(node, 0), context.tensor(node, 1),
        context.optional(node, 2), _axis(context, node), int_attribute(node, "block_size", 0),
        TORCH_TYPES[dtype],
    )  # fmt: skip


@twin_op("DequantizeLinear")
def build_dequantize(context: TwinContext, node: ir.Node) -> Built:
    """Constants wait for the layer that reads them; a pair becomes a call of its quantizer."""
    if context.constants.weight(node.outputs[0]) is not None:
        return None
    stored = input_at(node, 0)
    producer = stored.producer() if stored is not None else None
    if producer is not None and is_op(producer, "QuantizeLinear"):
        pair = find_pair(producer)
        source = input_at(producer, 0)
        if pair is not None and source is not None and stored is not None:
            path = context.constants.group_quantizer(node, pair.parameters, source.name or "")
            if stored not in context.values:
                x = context.operand(source)
                rounded = x
                if context.rounded_by.get(x) != path:
                    rounded = context.call_module(path, x)
                    context.rounded_by[rounded] = path
                context.values[stored] = rounded
            return context.values[stored]
    if stored is not None and stored.dtype not in TORCH_TYPES:
        raise Refusal(f"dequantization of {stored.dtype}", "int8, uint8, int16 or int32")
    return context.call(
        dequantize_linear, context.tensor(node, 0), context.tensor(node, 1),
        context.optional(node, 2), _axis(context, node), int_attribute(node, "block_size", 0),
    )  # fmt: skip


def quantize_linear(
    x: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int, block: int, dtype: torch.dtype
) -> Tensor:
    """``saturate(round(x / scale) + zero_point)`` as ``dtype``."""
    limits = torch.iinfo(dtype)
    scale = _spread(scale, x, axis, block)
    integers = torch.round(x.to(scale.dtype) / scale).to(torch.float64)
    if zero_point is not None:
        integers = integers + _spread(zero_point, x, axis, block)
    return torch.clamp(integers, limits.min, limits.max).to(dtype)


def dequantize_linear(
    x: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int, block: int
) -> Tensor:
    """``(x - zero_point) * scale`` in the type of ``scale``."""
    shifted = x.to(torch.int64)
    if zero_point is not None:
        shifted = shifted - _spread(zero_point, x, axis, block).to(torch.int64)
    return shifted.to(scale.dtype) * _spread(scale, x, axis, block)


def _spread(parameter: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """A scale or zero point in a shape that broadcasts with ``x``."""
    if block:
        repeated = parameter.repeat_interleave(block, dim=axis)
        return repeated.narrow(axis, 0, x.shape[axis])
    if parameter.numel() == 1:
        return parameter.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return parameter.reshape(shape)


def _axis(context: TwinContext, node: ir.Node) -> int:
    axis = int_attribute(node, "axis", 1)
    scale = input_at(node, 1)
    if scale is not None and scale.shape is not None and len(scale.shape) == 0:
        return 0
    return axis
