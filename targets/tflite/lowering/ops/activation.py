"""Activations that are operators of their own, where no operator before takes them over."""

from __future__ import annotations

import math

import numpy as np
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
from edgekit.targets.tflite.lowering.registry import lowers

_CLAMPS = {
    (0.0, math.inf): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


@lowers("Relu", "Clip", accepts="constant bounds, float32")
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
    stored = [context.shape(value)[axis] for axis in axes]
    for position, (name, bound) in enumerate(steps):
        limit = context.constant_tensor(np.array(bound, np.float32), f"{node.name}/{name}")
        operator = Operator(name, schema.MaximumMinimumOptionsT())
        if position == len(steps) - 1:
            context.result(result, operator, [tensor, limit], axes)
        else:
            tensor = context.step(
                operator, [tensor, limit], stored, "float32", f"{result.name}/at_least"
            )


@lowers("HardSwish", accepts="float32")
def lower_hard_swish(context: LoweringContext, node: ir.Node) -> None:
    """HardSwish ``x * clip(x/6 + 1/2, 0, 1)`` -> HARD_SWISH."""
    value = required_input(node, 0)
    operator = Operator("HARD_SWISH", schema.HardSwishOptionsT())
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("HardSigmoid", accepts="float32, any alpha and beta")
def lower_hard_sigmoid(context: LoweringContext, node: ir.Node) -> None:
    """HardSigmoid ``clip(alpha*x + beta, 0, 1)`` as ``relu6(6*alpha*x + 6*beta) / 6``.

    RELU6 is the only clamp that every kernel fuses; with alpha = 1/6 (PyTorch's form) the
    first multiplication falls away.
    """
    value, result = required_input(node, 0), node.outputs[0]
    slope = 6.0 * float_attribute(node, "alpha", 0.2)
    shift = 6.0 * float_attribute(node, "beta", 0.5)
    axes, tensor = context.axes(value), context.tensor(value)
    stored = [context.shape(value)[axis] for axis in axes]

    def constant(number: float, role: str) -> int:
        return context.constant_tensor(np.array(number, np.float32), f"{node.name}/{role}")

    if not math.isclose(slope, 1.0, rel_tol=1e-6):
        scaled = Operator("MUL", schema.MulOptionsT())
        tensor = context.step(
            scaled, [tensor, constant(slope, "slope")], stored, "float32", f"{result.name}/scaled"
        )
    options = schema.AddOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU6
    tensor = context.step(
        Operator("ADD", options),
        [tensor, constant(shift, "shift")],
        stored,
        "float32",
        f"{result.name}/clamped",
    )
    context.non_negative.add(result)
    sixth = constant(1.0 / 6.0, "sixth")
    context.result(result, Operator("MUL", schema.MulOptionsT()), [tensor, sixth], axes)


@lowers("Gelu", accepts="float32, exact or tanh form")
def lower_gelu(context: LoweringContext, node: ir.Node) -> None:
    """Gelu -> GELU, exact (erf) or approximate (tanh)."""
    value = required_input(node, 0)
    options = schema.GeluOptionsT()
    options.approximate = text_attribute(node, "approximate", "none") == "tanh"
    operator = Operator("GELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("LeakyRelu", accepts="float32")
def lower_leaky_relu(context: LoweringContext, node: ir.Node) -> None:
    """LeakyRelu -> LEAKY_RELU."""
    value = required_input(node, 0)
    options = schema.LeakyReluOptionsT()
    options.alpha = float_attribute(node, "alpha", 0.01)
    operator = Operator("LEAKY_RELU", options)
    context.result(node.outputs[0], operator, [context.tensor(value)], context.axes(value))


@lowers("Elu", accepts="float32, alpha=1")
def lower_elu(context: LoweringContext, node: ir.Node) -> None:
    """Elu -> ELU, which has alpha 1."""
    value = required_input(node, 0)
    if float_attribute(node, "alpha", 1.0) != 1.0:
        raise Refusal(f"alpha={float_attribute(node, 'alpha', 1.0)}", "alpha=1")
    context.result(node.outputs[0], Operator("ELU"), [context.tensor(value)], context.axes(value))


@lowers("PRelu", accepts="float32, a constant slope that broadcasts")
def lower_prelu(context: LoweringContext, node: ir.Node) -> None:
    """PRelu -> PRELU with its slope aligned to the stored axes."""
    value, slope = required_input(node, 0), required_input(node, 1)
    context.required_constant(slope, "slope")
    axes = context.axes(value)
    tensors = [context.tensor(value), broadcast_operand(context, slope, axes)]
    context.result(node.outputs[0], Operator("PRELU"), tensors, axes)
