"""Kernels of a graph: an op together with the bias and the activation that its kernel applies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.core.quant import QuantConstraints
from edgekit.graph.values import constant_array, constant_scalar, input_at, is_op, only_consumer

LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Ops that have weights when their second input is constant."""
_DATA_INPUTS = {
    "Clip": 1, "Expand": 1, "Gather": 1, "LayerNormalization": 1, "Pad": 1, "Pow": 1,
    "ReduceMax": 1, "ReduceMean": 1, "ReduceMin": 1, "ReduceSum": 1, "Reshape": 1, "Resize": 1,
    "Slice": 1, "Split": 1, "Squeeze": 1, "Unsqueeze": 1,
}  # fmt: skip
"""Number of leading inputs that are tensors of the computation; all inputs where not listed."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What one kernel computes.

    Attributes:
        node: The op itself, after which the unit is named.
        bias_add: The Add by a constant vector behind a MatMul.
        activation: The Relu or Clip that the kernel applies.
    """

    node: ir.Node
    bias_add: ir.Node | None = None
    activation: ir.Node | None = None

    @property
    def name(self) -> str:
        """Name of the op's node."""
        return self.node.name or self.node.op_type

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """All nodes, in graph order."""
        return tuple(
            node for node in (self.node, self.bias_add, self.activation) if node is not None
        )

    @property
    def outputs(self) -> tuple[ir.Value, ...]:
        """Outputs of the last node that are used, at least the first."""
        outputs = self.nodes[-1].outputs
        used = tuple(value for value in outputs if value.uses() or value.is_graph_output())
        return used or (outputs[0],)

    @property
    def weight(self) -> ir.Value | None:
        """Constant weights of a layer; None for any other op."""
        if not is_op(self.node, *LAYERS):
            return None
        value = input_at(self.node, 1)
        array = constant_array(value)
        if array is None or (self.node.op_type == "MatMul" and array.ndim != 2):
            return None
        return value

    @property
    def bias(self) -> ir.Value | None:
        """Constant bias of a layer; None where it has none."""
        if self.weight is None:
            return None
        if self.bias_add is not None:
            return self.bias_add.inputs[_bias_index(self.bias_add)]
        return None if self.node.op_type == "MatMul" else input_at(self.node, 2)

    def operands(self) -> Iterator[tuple[int, ir.Value]]:
        """Inputs of the op that are tensors of the computation, without weights and bias."""
        weight = self.weight
        count = 1 if weight is not None else _DATA_INPUTS.get(self.node.op_type)
        for index, value in enumerate(self.node.inputs[:count]):
            if value is not None:
                yield index, value

    @property
    def weight_axis(self) -> int | None:
        """Axis of the weights that counts output channels (of a group, for ConvTranspose)."""
        if self.weight is None:
            return None
        if self.node.op_type == "Conv":
            return 0
        if self.node.op_type == "Gemm":
            transposed = self.node.attributes.get("transB")
            return 0 if transposed is not None and transposed.as_int() else 1
        return 1


def find_units(graph: ir.Graph, constraints: QuantConstraints) -> tuple[Unit, ...]:
    """Divides the nodes of a graph into units, in graph order; each node is in one."""
    units: list[Unit] = []
    taken: set[ir.Node] = set()
    for node in graph:
        if node in taken:
            continue
        bias_add = _bias_add(node)
        last = bias_add or node
        unit = Unit(node, bias_add, _fused_activation(node, last, constraints))
        taken.update(unit.nodes)
        units.append(unit)
    return tuple(units)


def clamp_range(node: ir.Node) -> tuple[float, float] | None:
    """The constant range that a Relu or Clip clamps to; None for any other node."""
    if is_op(node, "Relu"):
        return 0.0, float("inf")
    if not is_op(node, "Clip"):
        return None
    bounds = [float("-inf"), float("inf")]
    for index in (1, 2):
        value = input_at(node, index)
        if value is None:
            continue
        bound = constant_scalar(value)
        if bound is None:
            return None
        bounds[index - 1] = bound
    return bounds[0], bounds[1]


def _bias_add(node: ir.Node) -> ir.Node | None:
    """The Add by a constant vector that alone reads a MatMul by a constant matrix."""
    if not is_op(node, "MatMul"):
        return None
    weights = constant_array(input_at(node, 1))
    follower = only_consumer(node.outputs[0])
    if weights is None or weights.ndim != 2 or follower is None or not is_op(follower, "Add"):
        return None
    bias = constant_array(follower.inputs[_bias_index(follower)])
    if bias is None or bias.dtype != np.float32:
        return None
    channels = int(weights.shape[1])
    rank = node.outputs[0].shape
    if bias.size != channels or bias.shape[-1:] != (channels,):
        return None
    return follower if rank is not None and bias.ndim <= len(rank) else None


def _bias_index(add: ir.Node) -> int:
    return 1 if constant_array(input_at(add, 1)) is not None else 0


def _fused_activation(
    node: ir.Node, last: ir.Node, constraints: QuantConstraints
) -> ir.Node | None:
    if node.domain != "" or node.op_type not in constraints.fusing_ops:
        return None
    if node.op_type in LAYERS and constant_array(input_at(node, 1)) is None:
        # A product of two activations has no kernel that applies an activation.
        return None
    follower = only_consumer(last.outputs[0])
    if follower is None or follower.inputs[0] is not last.outputs[0]:
        return None
    return follower if clamp_range(follower) in constraints.fused_ranges else None
