"""Whether a unit can be computed on integers, and if not, why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.core.quant import QuantConstraints
from edgekit.graph.values import (
    constant_array,
    constant_scalar,
    float_attribute,
    input_at,
    int_attribute,
    string_attribute,
)
from edgekit.quantization.units import LAYERS, Unit, clamp_range


def float_reason(unit: Unit, bits: int, constraints: QuantConstraints) -> str | None:
    """Why ``unit`` has to be computed in float; None when there is an integer kernel.

    Args:
        unit: Computes on float32 tensors.
        bits: Bits of the activations, 8 or 16.
        constraints: What the target has kernels for.
    """
    node = unit.node
    if node.domain not in ("", "ai.onnx"):
        return f"{node.domain}::{node.op_type} has no integer kernel"
    if node.op_type not in constraints.integer_ops:
        return f"{node.op_type} has no integer kernel"
    if bits == 16 and node.op_type not in constraints.int16_ops:
        return f"{node.op_type} has no kernel on 16-bit activations"
    if any(value.dtype != ir.DataType.FLOAT for _, value in unit.operands()):
        return "it computes on other types than float32"
    if node.op_type in LAYERS:
        return _layer_reason(unit, constraints)
    check = _CHECKS.get(node.op_type)
    reason = None if check is None else check(node)
    wide = _CHECKS_16.get(node.op_type)
    return wide(node) if reason is None and bits == 16 and wide is not None else reason


def _layer_reason(unit: Unit, constraints: QuantConstraints) -> str | None:
    node = unit.node
    if node.op_type == "MatMul" and unit.weight is None:
        return None
    if unit.weight is None:
        return "its weights are not constant"
    if constant_array(node.inputs[0]) is not None:
        return "it computes on constants only"
    weights = constant_array(unit.weight)
    if weights is not None and weights.ndim - 2 > constraints.max_spatial_axes:
        return f"there is no integer kernel for {weights.ndim - 2} spatial axes"
    bias = constant_array(unit.bias)
    if unit.bias is not None and bias is None:
        return "its bias is not constant"
    if node.op_type != "Gemm":
        return None
    if int_attribute(node, "transA", 0):
        return "Gemm with a transposed input has no integer kernel"
    if float_attribute(node, "alpha", 1.0) != 1.0 or (
        bias is not None and float_attribute(node, "beta", 1.0) != 1.0
    ):
        return "Gemm with alpha or beta other than 1 has no integer kernel"
    axis = unit.weight_axis
    if bias is not None and weights is not None and axis is not None:
        channels = weights.shape[axis]
        if bias.size != channels or bias.shape[-1:] != (channels,):
            return "its bias is not one number an output channel"
    return None


def _pad(node: ir.Node) -> str | None:
    mode = string_attribute(node, "mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        return f"Pad in mode {mode!r} has no integer kernel"
    fill = input_at(node, 2)
    number = 0.0 if fill is None else constant_scalar(fill)
    if number is None or not np.isfinite(number):
        return "Pad by a value that is not a finite constant has no integer kernel"
    return None


def _resize(node: ir.Node) -> str | None:
    mode = string_attribute(node, "mode", "nearest")
    return None if mode in ("nearest", "linear") else f"Resize {mode!r} has no integer kernel"


def _clip(node: ir.Node) -> str | None:
    return "the bounds of Clip are not constant" if clamp_range(node) is None else None


def _reduce(node: ir.Node) -> str | None:
    axes = input_at(node, 1)
    if axes is not None and constant_array(axes) is None:
        return f"the axes of {node.op_type} are not constant"
    return None


def _pow(node: ir.Node) -> str | None:
    if constant_scalar(input_at(node, 1)) is None:
        return "the exponent of Pow is not one constant number"
    return "it computes on constants only" if constant_array(node.inputs[0]) is not None else None


def _div(node: ir.Node) -> str | None:
    divisor = constant_array(input_at(node, 1))
    if divisor is not None and not divisor.all():
        return "it divides by a constant 0"
    return _arithmetic(node)


def _layer_norm(node: ir.Node) -> str | None:
    rank = len(node.inputs[0].shape or ()) if node.inputs[0] is not None else 0
    if int_attribute(node, "axis", -1) not in (-1, rank - 1):
        return "LayerNormalization over more than the last axis has no integer kernel"
    if any(constant_array(value) is None for value in node.inputs[1:] if value is not None):
        return "the scale or bias of LayerNormalization is not constant"
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return "a LayerNormalization that gives Mean or InvStdDev has no integer kernel"
    return None


def _pool(node: ir.Node) -> str | None:
    if len(node.outputs) > 1 and node.outputs[1].uses():
        return "a MaxPool that gives indices has no integer kernel"
    return None


def _prelu(node: ir.Node) -> str | None:
    constant = constant_array(input_at(node, 1)) is not None
    return None if constant else "the slope of PRelu is not constant"


def _wide_prelu(node: ir.Node) -> str | None:
    slope = constant_array(input_at(node, 1))
    if slope is not None and (slope.astype(np.float32) > 1).any():
        return "PRelu with a slope above 1 has no kernel on 16-bit activations"
    return None


def _arithmetic(node: ir.Node) -> str | None:
    constants = [constant_array(value) is not None for value in node.inputs if value is not None]
    return "it computes on constants only" if all(constants) else None


_CHECKS: dict[str, Callable[[ir.Node], str | None]] = {
    "Add": _arithmetic,
    "Clip": _clip,
    "Div": _div,
    "LayerNormalization": _layer_norm,
    "Max": _arithmetic,
    "MaxPool": _pool,
    "Min": _arithmetic,
    "Mul": _arithmetic,
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _pow,
    "ReduceMax": _reduce,
    "ReduceMean": _reduce,
    "ReduceMin": _reduce,
    "ReduceSum": _reduce,
    "Resize": _resize,
    "Sub": _arithmetic,
}
_CHECKS_16 = {"PRelu": _wide_prelu}
