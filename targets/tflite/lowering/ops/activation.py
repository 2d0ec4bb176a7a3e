"""Activations that are operators of their own, where no operator before takes them over."""

from __future__ import annotations

import math

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.fusion import clamp_range
from edgekit.targets.tflite.lowering.node_view import (
    Refusal,
    float_attribute,
    required_input,
    text_attribute,
)
from edgekit.targets.tflite.lowering.ops.binary import broadcast_operand
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
)
from edgekit.targets.tflite.lowering.registry import lowers

_CLAMPS = {
    (0.0, math.inf): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


@lowers("Relu", "Clip", accepts="constant bounds, float32 or quantized", integer=True)
def lower_clamp(context: LoweringContext, node: ir.Node) -> None:
    """Relu, Clip -> RELU, RELU6, RELU_N1_TO_1, RELU_0_TO_1, else MAXIMUM and MINIMUM."""
    value, result = required_input(node, 0), node.outputs[0]
    bounds = clamp_range(node)
    if bounds is None:
        raise Refusal("bounds computed at run time", "constant bounds")
    if context.dtype(value) != "float32":
        raise Refusal(f"type {context.dtype(value)}", "float32")
    if bounds[0] >= 0:
        context.non_negative.add(result)
    axes, tensor = context.axes(value), context.tensor(value)
    if bounds in _CLAMPS:
        context.result(result, Operator(_CLAMPS[bounds]), [tensor], axes)
        return
    steps = [
        (name, bound)
        for name, bound in zip(("MAXIMUM", "MINIMUM"), bounds, strict=True)
        if math.isfinite(bound)
    ]
    if not steps:
        context.bind(result, tensor, axes)
        return
    if context.integer:
        raise Refusal(
            f"a quantized clamp to {bounds}", f"clamps to {', '.join(map(str, _CLAMPS))}"
        )
    stored = [context.shape(value)[axis] for axis in axes]
    for position, (name, bound) in enumerate(steps):
        limit = context.scalar(bound, f"{node.name}/{name}")
        operator = Operator(name, schema.MaximumMinimumOptionsT())
        if position == len(steps) - 1:
            context.result(result, operator, [tensor, limit], axes)
        else:
            tensor = context.step(
                operator, [tensor, limit], stored, FLOAT32, f"{result.name}/at_least"
            )


@lowers("Gelu", accepts="float32, exact or tanh form", integer=True)
def lower_gelu(context: LoweringContext, node: ir.Node) -> None:
    """Gelu -> GELU, exact (erf) or approximate (tanh)."""
    value = required_input(node, 0)
    options = schema.GeluOptionsT()
    options.approximate = text_attribute(node, "approximate", "none") == "tanh"
    operator = Operator("GELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("LeakyRelu", accepts="float32", integer=True)
def lower_leaky_relu(context: LoweringContext, node: ir.Node) -> None:
    """LeakyRelu -> LEAKY_RELU."""
    value = required_input(node, 0)
    options = schema.LeakyReluOptionsT()
    options.alpha = float_attribute(node, "alpha", 0.01)
    operator = Operator("LEAKY_RELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("Elu", accepts="float32, alpha=1", integer=True)
def lower_elu(context: LoweringContext, node: ir.Node) -> None:
    """Elu -> ELU, which has alpha 1."""
    value = required_input(node, 0)
    if float_attribute(node, "alpha", 1.0) != 1.0:
        raise Refusal(f"alpha={float_attribute(node, 'alpha', 1.0)}", "alpha=1")
    context.result(node.outputs[0], Operator("ELU"), [context.tensor(value)], context.axes(value))


@lowers("PRelu", accepts="float32, a constant slope that broadcasts", integer=True)
def lower_prelu(context: LoweringContext, node: ir.Node) -> None:
    """PRelu -> PRELU with its slope aligned to the stored axes."""
    value, slope = required_input(node, 0), required_input(node, 1)
    context.parameter(slope, "slope")
    axes = context.axes(value)
    tensors = [context.tensor(value), broadcast_operand(context, slope, axes)]
    context.result(node.outputs[0], Operator("PRELU"), tensors, axes)
