"""Activations that are operators of their own, where no operator before takes them over."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.fusion import clamp_range
from edgekit.targets.tflite.lowering.interpolation import Reals
from edgekit.targets.tflite.lowering.ops.binary import broadcast_operand
from edgekit.targets.tflite.lowering.quantization import Parameter, TensorType
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import quantized_constant, requantized
from edgekit.targets.tflite.lowering.table_lookup import lower_function

_RELU = {(0.0, math.inf): "RELU", (0.0, 6.0): "RELU6"}
_CLAMPS = {
    "float32": {**_RELU, (-1.0, 1.0): "RELU_N1_TO_1", (0.0, 1.0): "RELU_0_TO_1"},
    "int16": _RELU,
}
"""Operators by type and range.

On int8 XNNPACK takes none of them, and LiteRT's own need 8 ns an element where QUANTIZE, MAXIMUM
and MINIMUM need 0.1.
"""


@lowers("Relu", "Clip", accepts="constant bounds", integer=True, int16=True)
def lower_clamp(context: LoweringContext, node: ir.Node) -> None:
    """Relu, Clip -> an operator of `_CLAMPS`, else MAXIMUM and MINIMUM.

    On integers a QUANTIZE gives the values the scale of the result first, whose range may well
    end where the clamp does; MAXIMUM and MINIMUM are written where it does not.
    """
    value, result = required_input(node, 0), node.outputs[0]
    bounds = clamp_range(node)
    if bounds is None:
        raise Refusal("bounds computed at run time", "constant bounds")
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    if bounds[0] >= 0:
        context.non_negative.add(result)
    axes, tensor, kind = context.axes(value), context.tensor(value), context.type_of(result)
    operators = _CLAMPS.get(kind.dtype, {})
    if bounds in operators:
        context.result(result, Operator(operators[bounds]), [tensor], axes)
        return
    stored = [context.shape(value)[axis] for axis in axes]
    limits, made = _limits(bounds, kind), str(result.name)
    if context.integer:
        # Rounding keeps the order of numbers: rounded first and clamped then is the same.
        name = f"{made}/rescaled" if limits else made
        tensor = requantized(context, tensor, stored, kind, name)
    for position, (operator, limit) in enumerate(limits, start=1):
        bound = context.operand(limit, f"{node.name}/{operator}")
        name = made if position == len(limits) else f"{made}/at_least"
        clamp = Operator(operator, schema.MaximumMinimumOptionsT())
        tensor = context.step(clamp, [tensor, bound], stored, kind, name)
    context.bind(result, tensor, axes)


def _limits(bounds: tuple[float, float], kind: TensorType) -> list[tuple[str, Parameter]]:
    """MAXIMUM and MINIMUM with their operands, without one that changes nothing."""
    limits = []
    for name, bound in zip(("MAXIMUM", "MINIMUM"), bounds, strict=True):
        if not math.isfinite(bound):
            continue
        real = np.array(bound, np.float32)
        if kind.quantization is None:
            limits.append((name, Parameter(real, kind)))
            continue
        limit, ends = quantized_constant(real, kind), np.iinfo(kind.dtype)
        if limit.array != (ends.min if name == "MAXIMUM" else ends.max):
            limits.append((name, limit))
    return limits


@lowers("Gelu", accepts="exact or tanh form, float32 or quantized", integer=True, int16=True)
def lower_gelu(context: LoweringContext, node: ir.Node) -> None:
    """Gelu -> GELU, exact (erf) or approximate (tanh)."""
    value = required_input(node, 0)
    options = schema.GeluOptionsT()
    options.approximate = text_attribute(node, "approximate", "none") == "tanh"
    operator = Operator("GELU", options)
    if context.type_of(value).dtype == "int16":
        lower_function(context, node, _tanh_gelu if options.approximate else _gelu, operator)
        return
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


def _gelu(x: Reals) -> Reals:
    made: Reals = x * 0.5 * (1.0 + np.vectorize(math.erf)(x / math.sqrt(2.0)))
    return made


def _tanh_gelu(x: Reals) -> Reals:
    return x * 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


@lowers("LeakyRelu", accepts="float32 or quantized", integer=True, int16=True)
def lower_leaky_relu(context: LoweringContext, node: ir.Node) -> None:
    """LeakyRelu -> LEAKY_RELU."""
    value = required_input(node, 0)
    options = schema.LeakyReluOptionsT()
    options.alpha = float_attribute(node, "alpha", 0.01)
    operator = Operator("LEAKY_RELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("Elu", accepts="float32 with alpha=1, or quantized", integer=True, int16=True)
def lower_elu(context: LoweringContext, node: ir.Node) -> None:
    """Elu -> ELU, which has alpha 1; on integers a table for another or for 16 bits."""
    value = required_input(node, 0)
    alpha = float_attribute(node, "alpha", 1.0)
    if context.integer and (alpha != 1.0 or context.type_of(value).dtype == "int16"):
        lower_function(
            context, node, lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
        )
        return
    if alpha != 1.0:
        raise Refusal(f"alpha={alpha}", "alpha=1")
    context.result(node.outputs[0], Operator("ELU"), [context.tensor(value)], context.axes(value))


@lowers("PRelu", accepts="a constant slope that broadcasts", integer=True, int16=True)
def lower_prelu(context: LoweringContext, node: ir.Node) -> None:
    """PRelu -> PRELU with its slope aligned to the stored axes; on 16 bits MUL and MAXIMUM."""
    value, slope = required_input(node, 0), required_input(node, 1)
    wide = context.type_of(value).dtype == "int16"
    if wide and (context.required_constant(slope, "slope") > 1.0).any():
        context.compute_in_float("a slope above 1 has no int16 kernel")
        wide = False
    context.parameter(slope, "slope")
    axes = context.axes(value)
    tensors = [context.tensor(value), broadcast_operand(context, slope, axes)]
    if wide:
        _lower_prelu_16(context, node, tensors)
        return
    context.result(node.outputs[0], Operator("PRELU"), tensors, axes)


def _lower_prelu_16(context: LoweringContext, node: ir.Node, tensors: list[int]) -> None:
    """``max(x, slope * x)``, which is PRelu where no slope is above 1."""
    value, result = required_input(node, 0), node.outputs[0]
    kind, axes = context.type_of(result), context.axes(value)
    shape = [context.shape(value)[axis] for axis in axes]
    name = str(result.name)
    operator = Operator("MUL", schema.MulOptionsT())
    scaled = context.step(operator, tensors, shape, kind, f"{name}/scaled")
    plain = requantized(context, tensors[0], shape, kind, f"{name}/plain")
    maximum = Operator("MAXIMUM", schema.MaximumMinimumOptionsT())
    context.result(result, maximum, [plain, scaled], axes)
