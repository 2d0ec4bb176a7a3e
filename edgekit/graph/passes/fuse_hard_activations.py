"""HardSigmoid and HardSwish, re-fused from what exporters decompose them into.

``HardSigmoid(x) = max(0, min(1, alpha * x + beta))``; MobileNetV3 (arXiv:1905.02244) uses
``relu6(x + 3) / 6``, which is alpha = 1/6, beta = 1/2. ``HardSwish(x) = x * relu6(x + 3) / 6``.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import operands, producer, with_constant
from edgekit.graph.values import (
    constant_scalar,
    float_attribute,
    input_at,
    is_op,
    replace_node,
)

_ALPHA = 1 / 6


class FuseHardActivations(GraphPass):
    """Rewrites the hard activations of MobileNetV3 as single nodes.

    1. ``Clip(x + 3, 0, 6) / 6`` (or times 1/6) is ``HardSigmoid(x, alpha=1/6, beta=0.5)``.
    2. ``x * HardSigmoid(x, alpha=1/6, beta=0.5)`` is ``HardSwish(x)``.
    3. ``x * Clip(x + 3, 0, 6) / 6`` in the order ``(x * Clip) / 6`` is ``HardSwish(x)``.
    4. A HardSigmoid with other factors stays: HardSwish has no parameters.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        graph, modified = model.graph, False
        for node in graph:
            value = _hard_sigmoid(node)
            if value is not None:
                replace_node(graph, node, "HardSigmoid", [value], {"alpha": _ALPHA, "beta": 0.5})
                modified = True
        for node in graph:
            value = _hard_swish(node)
            if value is not None:
                replace_node(graph, node, "HardSwish", [value])
                modified = True
        return modified


def _relu6_of_shifted(value: ir.Value | None) -> ir.Value | None:
    """``x`` where ``value`` is ``Clip(x + 3, 0, 6)``."""
    clip = producer(value, "Clip")
    if clip is None:
        return None
    if (constant_scalar(input_at(clip, 1)), constant_scalar(input_at(clip, 2))) != (0.0, 6.0):
        return None
    return with_constant(clip.inputs[0], "Add", 3.0)


def _hard_sigmoid(node: ir.Node) -> ir.Value | None:
    if not is_op(node, "Mul", "Div"):
        return None
    return _relu6_of_shifted(with_constant(node.outputs[0], "Mul", _ALPHA))


def _hard_swish(node: ir.Node) -> ir.Value | None:
    if not is_op(node, "Mul", "Div"):
        return None
    scaled = producer(with_constant(node.outputs[0], "Mul", _ALPHA), "Mul")
    for left, right in operands(scaled) if scaled is not None else ():
        if left is not None and _relu6_of_shifted(right) is left:
            return left
    for left, right in operands(node) if node.op_type == "Mul" else ():
        gate = producer(right, "HardSigmoid")
        if gate is None or left is None or gate.inputs[0] is not left:
            continue
        alpha, beta = float_attribute(gate, "alpha", 0.2), float_attribute(gate, "beta", 0.5)
        if math.isclose(alpha, _ALPHA, rel_tol=1e-4) and math.isclose(beta, 0.5):
            return left
    return None
