"""Elementwise operators with one, two or many inputs, comparisons and logic."""

from __future__ import annotations

import functools
from collections.abc import Callable

import onnx_ir as ir
import torch
from torch import Tensor, fx

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.dtypes import TORCH_TYPES
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import input_at, int_attribute, is_op, string_attribute

type Elementwise = Callable[..., Tensor]

_UNARY: dict[str, Elementwise] = {
    "Abs": torch.abs, "Neg": torch.neg, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt,
    "Reciprocal": torch.reciprocal, "Floor": torch.floor, "Ceil": torch.ceil,
    "Sign": torch.sign, "Sin": torch.sin, "Cos": torch.cos, "Tan": torch.tan,
    "Asin": torch.asin, "Acos": torch.acos, "Atan": torch.atan, "Sinh": torch.sinh,
    "Cosh": torch.cosh, "Asinh": torch.asinh, "Acosh": torch.acosh, "Atanh": torch.atanh,
    "Erf": torch.erf, "Not": torch.logical_not, "IsNaN": torch.isnan,
    "BitwiseNot": torch.bitwise_not,
    # Both round halves to the even neighbour.
    "Round": torch.round,
}  # fmt: skip
_BINARY: dict[str, Elementwise] = {
    "Sub": torch.sub, "Mul": torch.mul, "And": torch.logical_and, "Or": torch.logical_or,
    "Xor": torch.logical_xor, "Equal": torch.eq, "Greater": torch.gt, "Less": torch.lt,
    "GreaterOrEqual": torch.ge, "LessOrEqual": torch.le, "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor,
}  # fmt: skip
_VARIADIC: dict[str, Elementwise] = {
    "Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add,
}  # fmt: skip


@twin_op(*_UNARY)
def build_unary(context: TwinContext, node: ir.Node) -> Built:
    """Torch has the same function."""
    return context.call(_UNARY[node.op_type], context.tensor(node, 0))


@twin_op(*_BINARY)
def build_binary(context: TwinContext, node: ir.Node) -> Built:
    """Torch has the same function, and broadcasts alike."""
    function = _BINARY[node.op_type]
    return context.call(function, context.tensor(node, 0), context.tensor(node, 1))


@twin_op("Add")
def build_add(context: TwinContext, node: ir.Node) -> Built:
    """A sum; nothing where the layer before adds it as its bias."""
    if node in context.absorbed:
        return context.values[context.absorbed[node]]
    return context.call(torch.add, context.tensor(node, 0), context.tensor(node, 1))


@twin_op(*_VARIADIC)
def build_variadic(context: TwinContext, node: ir.Node) -> Built:
    """The binary function from left to right."""
    function = _VARIADIC[node.op_type]
    return functools.reduce(
        lambda left, right: context.call(function, left, right), context.tensors(node)
    )


@twin_op("Mean")
def build_mean(context: TwinContext, node: ir.Node) -> Built:
    """Mean of several tensors."""
    inputs = context.tensors(node)
    total: fx.Node = functools.reduce(
        lambda left, right: context.call(torch.add, left, right), inputs
    )
    return context.call(torch.div, total, len(inputs))


@twin_op("Div")
def build_div(context: TwinContext, node: ir.Node) -> Built:
    """Quotients; those of integers are cut off towards zero."""
    value = input_at(node, 0)
    floating = value is not None and value.dtype is not None and value.dtype.is_floating_point()
    mode = None if floating else "trunc"
    inputs = context.tensor(node, 0), context.tensor(node, 1)
    return context.call(torch.div, *inputs, **({"rounding_mode": mode} if mode else {}))


@twin_op("Mod")
def build_mod(context: TwinContext, node: ir.Node) -> Built:
    """Remainder with the sign of the divisor, or with ``fmod`` of the dividend."""
    function = torch.fmod if int_attribute(node, "fmod", 0) else torch.remainder
    return context.call(function, context.tensor(node, 0), context.tensor(node, 1))


@twin_op("Pow")
def build_pow(context: TwinContext, node: ir.Node) -> Built:
    """Powers in the type of the base; a square and a root for these constant exponents."""
    base = context.tensor(node, 0)
    exponent = context.number(node, 1)
    value = input_at(node, 0)
    floating = value is not None and value.dtype is not None and value.dtype.is_floating_point()
    array = context.array(node, 1)
    if floating and array is not None and array.ndim == 0 and exponent in (2, 2.0):
        return context.call(torch.square, base)
    return context.call(power, base, context.tensor(node, 1))


def power(base: Tensor, exponent: Tensor) -> Tensor:
    """``base ** exponent`` in the type of ``base``."""
    return torch.pow(base, exponent).to(base.dtype)


@twin_op("BitShift")
def build_bit_shift(context: TwinContext, node: ir.Node) -> Built:
    """Shifts of unsigned integers."""
    left = string_attribute(node, "direction", "LEFT") == "LEFT"
    function = torch.bitwise_left_shift if left else torch.bitwise_right_shift
    return context.call(function, context.tensor(node, 0), context.tensor(node, 1))


@twin_op("Where")
def build_where(context: TwinContext, node: ir.Node) -> Built:
    """Selection by a mask."""
    return context.call(torch.where, *context.tensors(node))


@twin_op("IsInf")
def build_is_inf(context: TwinContext, node: ir.Node) -> Built:
    """Infinities of the signs that the attributes name."""
    positive = int_attribute(node, "detect_positive", 1)
    negative = int_attribute(node, "detect_negative", 1)
    x = context.tensor(node, 0)
    if positive and negative:
        return context.call(torch.isinf, x)
    if positive:
        return context.call(torch.isposinf, x)
    if negative:
        return context.call(torch.isneginf, x)
    return context.call(torch.zeros_like, x, dtype=torch.bool)


@twin_op("Cast", "CastLike")
def build_cast(context: TwinContext, node: ir.Node) -> Built:
    """Conversion between the types that the twin has; fractions are cut off."""
    dtype = node.outputs[0].dtype
    if dtype not in TORCH_TYPES:
        raise Refusal(f"a cast to {dtype}", ", ".join(map(str, TORCH_TYPES)))
    return context.call(Tensor.to, context.tensor(node, 0), TORCH_TYPES[dtype])


@twin_op("Identity", "Dropout")
def build_identity(context: TwinContext, node: ir.Node) -> Built:
    """The input itself; Dropout where the graph does not train."""
    if is_op(node, "Dropout"):
        training = context.array(node, 2)
        given = input_at(node, 2) is not None
        if given and (training is None or bool(training.reshape(-1)[0])):
            raise Refusal("Dropout in training mode", "training_mode false")
        x = context.tensor(node, 0)
        return x, context.call(torch.ones_like, x, dtype=torch.bool)
    return context.tensor(node, 0)
