"""Decides which activations move into the operator before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import InternalError
from edgekit.targets.tflite.lowering.quantization import is_constant

_HOSTS = frozenset(
    {
        "Conv", "ConvTranspose", "Gemm", "Add", "Sub", "Mul", "Div", "MaxPool", "AveragePool",
    }
)  # fmt: skip

RANGES: dict[tuple[float, float], int] = {
    (0.0, float("inf")): schema.ActivationFunctionType.RELU,
    (0.0, 6.0): schema.ActivationFunctionType.RELU6,
    (-1.0, 1.0): schema.ActivationFunctionType.RELU_N1_TO_1,
}
"""Ranges that TFLite can clamp to inside an operator."""


def clamp_range(node: ir.Node) -> tuple[float, float] | None:
    """The constant range that a Relu or Clip clamps to; None for any other node."""
    if node.op_type == "Relu":
        return 0.0, float("inf")
    if node.op_type != "Clip":
        return None
    bounds = [float("-inf"), float("inf")]
    for index, value in enumerate(node.inputs[1:3]):
        if value is None:
            continue
        if value.const_value is None:
            return None
        bounds[index] = float(np.asarray(value.const_value.numpy()).reshape(-1)[0])
    return bounds[0], bounds[1]


_BIAS_OPERANDS = 2
_MATRIX = 2


def plan_bias_additions(graph: ir.Graph) -> dict[ir.Node, ir.Node]:
    """Finds each MatMul by a constant whose product is only read by the Add of a constant.

    Returns:
        The Add node by MatMul node.
    """
    found: dict[ir.Node, ir.Node] = {}
    for node in graph:
        if node.op_type != "MatMul" or node.inputs[1] is None or not is_constant(node.inputs[1]):
            continue
        output, weights = node.outputs[0], node.inputs[1]
        uses = list(output.uses())
        if len(uses) != 1 or output.is_graph_output() or uses[0].node.op_type != "Add":
            continue
        bias = bias_of(uses[0].node, output)
        shape = bias.shape
        matrix = weights.shape is not None and len(weights.shape) == _MATRIX
        units = weights.shape[-1] if matrix and weights.shape is not None else None
        flat = shape is not None and len(shape) > 0 and all(d == 1 for d in list(shape)[:-1])
        if matrix and is_constant(bias) and shape is not None and flat and shape[-1] == units:
            found[node] = uses[0].node
    return found


def bias_of(addition: ir.Node, product: ir.Value) -> ir.Value:
    """The operand of an Add that is not the product."""
    first, second = addition.inputs[:_BIAS_OPERANDS]
    chosen = second if first is product else first
    if chosen is None:
        raise InternalError(f"Add {addition.name!r} has one operand")
    return chosen


@dataclass(frozen=True, slots=True)
class FusedActivation:
    """An activation node that the operator before it applies, with TFLite's code for it."""

    node: ir.Node
    code: int


def plan_fused_activations(graph: ir.Graph) -> dict[ir.Node, FusedActivation]:
    """Finds pairs of an operator and the activation that it can apply itself.

    The pair is fused when the activation is the only reader of the operator's output and that
    output is not an output of the graph.

    Returns:
        The activation by host node.
    """
    fused: dict[ir.Node, FusedActivation] = {}
    for node in graph:
        if not _is_host(node) or len(node.outputs) != 1:
            continue
        output = node.outputs[0]
        uses = list(output.uses())
        if len(uses) != 1 or output.is_graph_output() or output.dtype != ir.DataType.FLOAT:
            continue
        follower = uses[0].node
        if uses[0].idx != 0:
            continue
        code = RANGES.get(clamp_range(follower) or (0.0, 0.0))
        if code is not None:
            fused[node] = FusedActivation(follower, code)
    return fused


def _is_host(node: ir.Node) -> bool:
    """Whether the TFLite operator of a node can clamp; BATCH_MATMUL cannot."""
    if node.op_type != "Gemm":
        return node.op_type in _HOSTS
    value, weights = node.inputs[:2]
    if value is None or weights is None:
        return False
    return is_constant(weights) and not is_constant(value)
