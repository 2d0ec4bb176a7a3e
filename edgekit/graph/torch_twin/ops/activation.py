"""Activation functions, Softmax and its kind."""

from __future__ import annotations

import math
from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import Tensor
from torch.nn import functional

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.registry import Built, twin_op
from edgekit.graph.values import float_attribute, input_at, int_attribute, string_attribute

_PLAIN: dict[str, Callable[..., Tensor]] = {
    "Relu": torch.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh,
    "Softplus": functional.softplus, "Softsign": functional.softsign,
    "HardSwish": functional.hardswish, "Mish": functional.mish,
}  # fmt: skip


@twin_op(*_PLAIN)
def build_plain(context: TwinContext, node: ir.Node) -> Built:
    """Torch has the same function."""
    return context.call(_PLAIN[node.op_type], context.tensor(node, 0))


@twin_op("LeakyRelu")
def build_leaky_relu(context: TwinContext, node: ir.Node) -> Built:
    """``x`` where it is positive, ``alpha * x`` elsewhere."""
    alpha = float_attribute(node, "alpha", 0.01)
    return context.call(functional.leaky_relu, context.tensor(node, 0), alpha)


@twin_op("Elu")
def build_elu(context: TwinContext, node: ir.Node) -> Built:
    """``alpha * (exp(x) - 1)`` below zero."""
    return context.call(
        functional.elu, context.tensor(node, 0), float_attribute(node, "alpha", 1.0)
    )


@twin_op("Celu")
def build_celu(context: TwinContext, node: ir.Node) -> Built:
    """``alpha * (exp(x / alpha) - 1)`` below zero."""
    return context.call(
        functional.celu, context.tensor(node, 0), float_attribute(node, "alpha", 1.0)
    )


@twin_op("Selu")
def build_selu(context: TwinContext, node: ir.Node) -> Built:
    """``gamma`` times Elu, with any two constants."""
    alpha = float_attribute(node, "alpha", 1.6732631921768188)
    gamma = float_attribute(node, "gamma", 1.0507010221481323)
    return context.call(
        torch.mul, context.call(functional.elu, context.tensor(node, 0), alpha), gamma
    )


@twin_op("ThresholdedRelu")
def build_thresholded_relu(context: TwinContext, node: ir.Node) -> Built:
    """``x`` above ``alpha``, zero elsewhere."""
    alpha = float_attribute(node, "alpha", 1.0)
    return context.call(functional.threshold, context.tensor(node, 0), alpha, 0.0)


@twin_op("Shrink")
def build_shrink(context: TwinContext, node: ir.Node) -> Built:
    """Moves what lies beyond ``lambd`` towards zero by ``bias``; the rest becomes zero."""
    return context.call(
        shrink, context.tensor(node, 0), float_attribute(node, "lambd", 0.5),
        float_attribute(node, "bias", 0.0),
    )  # fmt: skip


def shrink(x: Tensor, threshold: float, bias: float) -> Tensor:
    """See `build_shrink`."""
    zero = torch.zeros_like(x)
    moved = torch.where(x > threshold, x - bias, zero)
    return torch.where(x < -threshold, x + bias, moved)


@twin_op("PRelu", parameters=(1,))
def build_prelu(context: TwinContext, node: ir.Node) -> Built:
    """``slope * x`` below zero; the slope broadcasts as ONNX says."""
    return context.call(prelu, context.tensor(node, 0), context.tensor(node, 1))


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """See `build_prelu`."""
    return torch.where(x < 0, x * slope, x)


@twin_op("HardSigmoid")
def build_hard_sigmoid(context: TwinContext, node: ir.Node) -> Built:
    """``clamp(alpha * x + beta, 0, 1)``."""
    alpha, beta = float_attribute(node, "alpha", 0.2), float_attribute(node, "beta", 0.5)
    x = context.tensor(node, 0)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return context.call(functional.hardsigmoid, x)
    return context.call(hard_sigmoid, x, alpha, beta)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """See `build_hard_sigmoid`."""
    return torch.clamp(x * alpha + beta, 0.0, 1.0)


@twin_op("Gelu")
def build_gelu(context: TwinContext, node: ir.Node) -> Built:
    """Exact, or by tanh."""
    approximate = string_attribute(node, "approximate", "none")
    return context.call(functional.gelu, context.tensor(node, 0), approximate=approximate)


@twin_op("Swish")
def build_swish(context: TwinContext, node: ir.Node) -> Built:
    """``x * sigmoid(alpha * x)``."""
    alpha = float_attribute(node, "alpha", 1.0)
    x = context.tensor(node, 0)
    if alpha == 1.0:
        return context.call(functional.silu, x)
    return context.call(swish, x, alpha)


def swish(x: Tensor, alpha: float) -> Tensor:
    """See `build_swish`."""
    return x * torch.sigmoid(x * alpha)


@twin_op("Clip")
def build_clip(context: TwinContext, node: ir.Node) -> Built:
    """Limits that may be left out; the upper one wins where they cross."""
    low, high = context.number(node, 1), context.number(node, 2)
    x = context.tensor(node, 0)
    value = input_at(node, 0)
    if value is not None and value.dtype != ir.DataType.FLOAT:
        # A Python number would change the type of integers and half floats.
        low, high = context.optional(node, 1), context.optional(node, 2)
    if low is None and high is None:
        return x
    if _is_number(low) != _is_number(high) and low is not None and high is not None:
        low, high = context.optional(node, 1), context.optional(node, 2)
    return context.call(torch.clamp, x, low, high)


def _is_number(limit: object) -> bool:
    return isinstance(limit, (int, float))


@twin_op("Softmax", "LogSoftmax")
def build_softmax(context: TwinContext, node: ir.Node) -> Built:
    """Along one axis."""
    function = torch.softmax if node.op_type == "Softmax" else torch.log_softmax
    return context.call(function, context.tensor(node, 0), int_attribute(node, "axis", -1))


@twin_op("Hardmax")
def build_hardmax(context: TwinContext, node: ir.Node) -> Built:
    """One at the first highest element of an axis, zero elsewhere."""
    return context.call(hardmax, context.tensor(node, 0), int_attribute(node, "axis", -1))


def hardmax(x: Tensor, axis: int) -> Tensor:
    """See `build_hardmax`."""
    highest = x.argmax(dim=axis, keepdim=True)
    return torch.zeros_like(x).scatter(axis, highest, torch.ones_like(x))
