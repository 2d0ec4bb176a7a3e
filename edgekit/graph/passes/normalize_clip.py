"""One form for bounded values: Clip with constant bounds."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import (
    add_initializer,
    constant_array,
    constant_scalar,
    input_at,
    is_op,
    only_consumer,
    replace_node,
)


class NormalizeClip(GraphPass):
    """Rewrites bounding ops on floating-point values.

    1. ``Min(Max(x, low), high)`` and ``Max(Min(x, high), low)`` with constant scalars and
       ``low <= high`` are ``Clip(x, low, high)``.
    2. ``Clip(Relu(x), low, high)`` is ``Clip(x, max(low, 0), high)``.
    3. ``Clip(x, 0)`` without an upper bound is ``Relu(x)``.
    4. A Clip whose bounds are not constant stays, with a reason. Bounds given as attributes
       (opset 6) have become inputs by the conversion of the opset.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if is_op(node, "Min", "Max"):
                modified |= _from_min_max(model.graph, node)
        for node in model.graph:
            if is_op(node, "Clip"):
                modified |= self._simplify(model.graph, node)
        return modified

    def _simplify(self, graph: ir.Graph, node: ir.Node) -> bool:
        value = node.inputs[0]
        if value is None or value.dtype is None or not value.dtype.is_floating_point():
            return False
        bounds = (input_at(node, 1), input_at(node, 2))
        if any(bound is not None and constant_array(bound) is None for bound in bounds):
            self.keep(node, "Clip has bounds that are not constant")
            return False
        low, high = _bounds(node)
        before = value.producer()
        if is_op(before, "Relu") and before is not None and only_consumer(value) is node:
            if high < 0:
                return False
            clip = _clip(graph, node, before.inputs[0], max(low, 0.0), high)
            return self._simplify(graph, clip) or True
        if low == 0 and high == np.inf:
            replace_node(graph, node, "Relu", [value])
            return True
        return False


def _bounds(node: ir.Node) -> tuple[float, float]:
    low, high = constant_scalar(input_at(node, 1)), constant_scalar(input_at(node, 2))
    return (-np.inf if low is None else low), (np.inf if high is None else high)


def _scalar_of(node: ir.Node) -> tuple[ir.Value | None, float | None]:
    """The other input and the constant of a Min or Max of two."""
    if len(node.inputs) != 2:
        return None, None
    for kept, other in ((0, 1), (1, 0)):
        constant = constant_scalar(node.inputs[other])
        value = node.inputs[kept]
        if constant is not None and value is not None and value.shape == node.outputs[0].shape:
            return value, constant
    return None, None


def _from_min_max(graph: ir.Graph, node: ir.Node) -> bool:
    inner_value, outer = _scalar_of(node)
    inner_node = inner_value.producer() if inner_value is not None else None
    other = "Max" if node.op_type == "Min" else "Min"
    if inner_value is None or outer is None or inner_node is None:
        return False
    if not is_op(inner_node, other) or only_consumer(inner_value) is not node:
        return False
    value, inner = _scalar_of(inner_node)
    if value is None or inner is None:
        return False
    if value.dtype is None or not value.dtype.is_floating_point():
        return False
    low, high = (inner, outer) if other == "Max" else (outer, inner)
    if low > high:
        return False
    _clip(graph, node, value, low, high)
    return True


def _clip(
    graph: ir.Graph, node: ir.Node, value: ir.Value | None, low: float, high: float
) -> ir.Node:
    """Puts a Clip in the place of ``node``."""
    dtype = node.outputs[0].dtype
    kind = np.float32 if dtype is None else dtype.numpy()
    name = node.outputs[0].name
    inputs = [value, None, None]
    if low > -np.inf:
        inputs[1] = add_initializer(graph, f"{name}_min", np.asarray(low, kind))
    if high < np.inf:
        inputs[2] = add_initializer(graph, f"{name}_max", np.asarray(high, kind))
    return replace_node(graph, node, "Clip", inputs)
