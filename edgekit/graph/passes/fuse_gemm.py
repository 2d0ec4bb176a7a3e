"""MatMul of rank 2 with its bias becomes Gemm."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import constant_array, is_op, only_consumer, replace_node


class FuseGemm(GraphPass):
    """Rewrites ``MatMul`` of a rank-2 value by constant weights, and the Add after it.

    1. ``Add(MatMul(x, W), b)`` with constant ``b`` of shape [N], [1, N] or [1] is
       ``Gemm(x, W, b)``.
    2. ``MatMul(x, W)`` alone is ``Gemm(x, W)``, so that one op stands for every dense layer.
    3. A Transpose of the weights has been folded before; MatMul of other ranks stays.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        graph, modified = model.graph, False
        for node in graph:
            if not is_op(node, "MatMul"):
                continue
            weights = constant_array(node.inputs[1])
            value = node.inputs[0]
            if weights is None or weights.ndim != 2 or value is None or value.shape is None:
                continue
            if len(value.shape) != 2:
                continue
            add, bias = _bias_after(node, weights.shape[1])
            if add is None:
                replace_node(graph, node, "Gemm", [value, node.inputs[1]])
            else:
                replace_node(graph, add, "Gemm", [value, node.inputs[1], bias])
            modified = True
        return modified


def _bias_after(node: ir.Node, width: int) -> tuple[ir.Node | None, ir.Value | None]:
    """The Add that alone reads ``node``, with its constant; None where there is none."""
    add = only_consumer(node.outputs[0])
    if add is None or not is_op(add, "Add"):
        return None, None
    bias = add.inputs[1] if add.inputs[0] is node.outputs[0] else add.inputs[0]
    array = constant_array(bias)
    if array is None or array.shape not in ((width,), (1, width), (1,), ()):
        return None, None
    return add, bias
