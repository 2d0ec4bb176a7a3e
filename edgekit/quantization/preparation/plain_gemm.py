"""Gemm as the one kernel that exists for it: ``x @ W + b``."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import (
    Array,
    add_initializer,
    constant_array,
    float_attribute,
    input_at,
    int_attribute,
    is_op,
)


class PlainGemm(GraphPass):
    """Moves the coefficients of ``alpha * x @ W + beta * C`` into its constants.

    1. With constant float32 ``W``, alpha is multiplied into ``W``; with constant ``C``, beta
       into ``C``.
    2. A constant ``C`` that is the same for every row becomes a vector of one number an
       output.
    3. A Gemm with other inputs that are not constant stays.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "Gemm"):
                continue
            weights = constant_array(node.inputs[1])
            addend = input_at(node, 2)
            bias = constant_array(addend)
            if weights is None or weights.dtype != np.float32:
                continue
            if addend is not None and bias is None:
                self.keep(node, "the addend of Gemm is not constant")
                continue
            alpha = float_attribute(node, "alpha", 1.0)
            if alpha != 1.0:
                scaled = (weights.astype(np.float64) * alpha).astype(np.float32)
                _set(model.graph, node, 1, scaled)
                node.attributes.pop("alpha")
                modified = True
            if bias is not None:
                outputs = weights.shape[0 if int_attribute(node, "transB", 0) else 1]
                modified |= _plain_bias(model.graph, node, bias, outputs)
        return modified


def _plain_bias(graph: ir.Graph, node: ir.Node, bias: Array, outputs: int) -> bool:
    beta = float_attribute(node, "beta", 1.0)
    rows = bias.shape[0] if bias.ndim == 2 else 1
    if rows != 1 or (beta == 1.0 and bias.shape == (outputs,)):
        return False
    vector = np.broadcast_to(bias.reshape(-1).astype(np.float64) * beta, (outputs,))
    _set(graph, node, 2, vector.astype(np.float32))
    node.attributes.pop("beta", None)
    return True


def _set(graph: ir.Graph, node: ir.Node, index: int, array: Array) -> None:
    """Gives a node a constant of its own; the old one goes when nothing else reads it."""
    old = node.inputs[index]
    if old is None or old.name is None:
        raise ValueError(f"input {index} of {node.name!r} is absent")
    node.replace_input_with(index, add_initializer(graph, f"{old.name}_{node.name}", array))
    if not old.uses() and not old.is_graph_output() and old.name in graph.initializers:
        graph.initializers.pop(old.name)
