"""Normalization layers, with the statistics that the graph states or computes."""

from __future__ import annotations

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import float_attribute, int_attribute, ints_attribute

_PER_CHANNEL_SINCE = 21
"""Opset from which scale and bias of GroupNormalization are one number a channel."""


@twin_op("BatchNormalization", parameters=(1, 2))
def build_batch_norm(context: TwinContext, node: ir.Node) -> Built:
    """With fixed statistics."""
    if int_attribute(node, "training_mode", 0):
        raise Refusal("training_mode 1", "training_mode 0; training goes on with folded layers")
    x, scale, bias, mean, variance = context.tensors(node)
    epsilon = float_attribute(node, "epsilon", 1e-5)
    return context.call(batch_norm, x, scale, bias, mean, variance, epsilon)


def batch_norm(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, epsilon: float
) -> Tensor:
    """Normalizes axis 1 with the given statistics."""
    return functional.batch_norm(x, mean, variance, scale, bias, False, 0.0, epsilon)


@twin_op("InstanceNormalization", parameters=(1, 2))
def build_instance_norm(context: TwinContext, node: ir.Node) -> Built:
    """With the statistics of each channel of each sample."""
    epsilon = float_attribute(node, "epsilon", 1e-5)
    return context.call(group_norm, *context.tensors(node), 0, epsilon)


@twin_op("GroupNormalization", parameters=(1, 2))
def build_group_norm(context: TwinContext, node: ir.Node) -> Built:
    """With the statistics of each group of channels of each sample."""
    if context.opset < _PER_CHANNEL_SINCE:
        raise Refusal(
            f"GroupNormalization of opset {context.opset}, whose scale is one number a group",
            f"opset {_PER_CHANNEL_SINCE} or InstanceNormalization",
        )
    return context.call(
        group_norm, *context.tensors(node), int_attribute(node, "num_groups", 1),
        float_attribute(node, "epsilon", 1e-5),
    )  # fmt: skip


def group_norm(x: Tensor, scale: Tensor, bias: Tensor, groups: int, epsilon: float) -> Tensor:
    """Normalizes ``[N, C, ...]`` in groups of channels; 0 groups mean one a channel."""
    return functional.group_norm(x, groups or x.shape[1], scale, bias, epsilon)


@twin_op("LayerNormalization", parameters=(1, 2))
def build_layer_norm(context: TwinContext, node: ir.Node) -> Built:
    """Over the last axes, from ``axis`` on; mean and inverse deviation as further outputs."""
    axis, epsilon = int_attribute(node, "axis", -1), float_attribute(node, "epsilon", 1e-5)
    x = context.tensor(node, 0)
    result = context.call(
        layer_norm, x, context.tensor(node, 1), context.optional(node, 2), axis, epsilon
    )
    if not any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return result
    statistics = context.call(layer_statistics, x, axis, epsilon)
    return result, context.item(statistics, 0), context.item(statistics, 1)


def layer_norm(x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float) -> Tensor:
    """See `build_layer_norm`."""
    shape = list(x.shape[axis:])
    if list(scale.shape) == shape and (bias is None or list(bias.shape) == shape):
        return functional.layer_norm(x, shape, scale, bias, epsilon)
    normalized = functional.layer_norm(x, shape, None, None, epsilon) * scale
    return normalized if bias is None else normalized + bias


def layer_statistics(x: Tensor, axis: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Mean and ``1 / sqrt(variance + epsilon)``."""
    axes = list(range(axis % x.ndim, x.ndim))
    wide = x.float() if x.dtype == torch.float16 else x
    variance, mean = torch.var_mean(wide, dim=axes, correction=0, keepdim=True)
    return mean, torch.rsqrt(variance + epsilon)


@twin_op("RMSNormalization", parameters=(1,))
def build_rms_norm(context: TwinContext, node: ir.Node) -> Built:
    """Over the last axes, without the mean."""
    return context.call(
        rms_norm, context.tensor(node, 0), context.tensor(node, 1),
        int_attribute(node, "axis", -1), float_attribute(node, "epsilon", 1e-5),
    )  # fmt: skip


def rms_norm(x: Tensor, scale: Tensor, axis: int, epsilon: float) -> Tensor:
    """See `build_rms_norm`."""
    axes = list(range(axis % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * scale


@twin_op("MeanVarianceNormalization")
def build_mean_variance(context: TwinContext, node: ir.Node) -> Built:
    """To mean 0 and variance 1 over ``axes``."""
    axes = ints_attribute(node, "axes", (0, 2, 3))
    return context.call(mean_variance, context.tensor(node, 0), axes)


def mean_variance(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """See `build_mean_variance`; the operator's definition adds 1e-9 to the deviation."""
    mean = x.mean(axes, keepdim=True)
    variance = x.square().mean(axes, keepdim=True) - mean.square()
    return (x - mean) / (variance.sqrt() + 1e-9)


@twin_op("LpNormalization")
def build_lp_norm(context: TwinContext, node: ir.Node) -> Built:
    """Divides by the norm along an axis; zero stays zero."""
    return context.call(
        lp_norm, context.tensor(node, 0), int_attribute(node, "p", 2),
        int_attribute(node, "axis", -1),
    )  # fmt: skip


def lp_norm(x: Tensor, p: int, axis: int) -> Tensor:
    """See `build_lp_norm`."""
    norm = torch.linalg.vector_norm(x, ord=p, dim=axis, keepdim=True)
    return x / torch.where(norm == 0, torch.ones_like(norm), norm)


@twin_op("LRN")
def build_lrn(context: TwinContext, node: ir.Node) -> Built:
    """Divides by a power of the mean square of neighbouring channels."""
    return context.call(
        local_response, context.tensor(node, 0), int_attribute(node, "size", 1),
        float_attribute(node, "alpha", 1e-4), float_attribute(node, "beta", 0.75),
        float_attribute(node, "bias", 1.0),
    )  # fmt: skip


def local_response(x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """See `build_lrn`; of an even number of neighbours the odd one is behind."""
    before = (size - 1) // 2
    square = x.square().movedim(1, -1)
    padded = functional.pad(square, (before, size - 1 - before))
    summed = padded.unfold(-1, size, 1).sum(-1).movedim(-1, 1)
    return x / (bias + alpha / size * summed) ** beta
