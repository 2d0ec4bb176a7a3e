"""One form for the mean over an image: GlobalAveragePool."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.signature import static_shape
from edgekit.graph.values import (
    constant_ints,
    input_at,
    int_attribute,
    ints_attribute,
    is_op,
    replace_node,
    string_attribute,
)


class NormalizePooling(GraphPass):
    """Rewrites means over height and width of a rank-4 value.

    1. ``ReduceMean`` over axes 2 and 3 with ``keepdims=1`` is ``GlobalAveragePool``.
    2. With ``keepdims=0`` it is ``GlobalAveragePool`` and ``Flatten(axis=1)``.
    3. ``AveragePool`` whose window covers the whole image without padding is
       ``GlobalAveragePool``.
    4. ReduceMean over other axes stays.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if is_op(node, "ReduceMean"):
                modified |= _reduce_mean(model.graph, node)
            elif is_op(node, "AveragePool"):
                modified |= _average_pool(model.graph, node)
        return modified


def _reduce_mean(graph: ir.Graph, node: ir.Node) -> bool:
    value, axes = node.inputs[0], constant_ints(input_at(node, 1))
    if value is None or value.shape is None or len(value.shape) != 4 or axes is None:
        return False
    if sorted(axis % 4 for axis in axes) != [2, 3]:
        return False
    if int_attribute(node, "keepdims", 1):
        replace_node(graph, node, "GlobalAveragePool", [value])
        return True
    pool = ir.node("GlobalAveragePool", [value], name=f"{node.name}_pool")
    pooled = pool.outputs[0]
    pooled.name = f"{node.outputs[0].name}_pooled"
    pooled.shape = ir.Shape([value.shape[0], value.shape[1], 1, 1])
    pooled.type = value.type
    graph.insert_before(node, pool)
    replace_node(graph, node, "Flatten", [pooled], {"axis": 1})
    return True


def _average_pool(graph: ir.Graph, node: ir.Node) -> bool:
    value = node.inputs[0]
    if value is None or value.shape is None or len(value.shape) != 4:
        return False
    window = ints_attribute(node, "kernel_shape")
    if tuple(value.shape[2:]) != window or any(ints_attribute(node, "pads")):
        return False
    if string_attribute(node, "auto_pad", "NOTSET") not in {"NOTSET", "VALID"}:
        return False
    if static_shape(node.outputs[0]) is None or tuple(node.outputs[0].shape or ())[2:] != (1, 1):
        return False
    replace_node(graph, node, "GlobalAveragePool", [value])
    return True
