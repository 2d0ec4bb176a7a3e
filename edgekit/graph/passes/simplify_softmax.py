"""Softmax without the reshaping that old opsets and their conversion put around it."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import producer
from edgekit.graph.signature import dims_of
from edgekit.graph.values import int_attribute, is_op, only_consumer, replace_node


class SimplifySoftmax(GraphPass):
    """Takes the pair of reshapes around Softmax and LogSoftmax away.

    Until opset 12 these ops saw their input as a matrix, so the conversion writes
    ``Reshape(Softmax(Flatten(x)))``.

    1. Where the rows of the matrix are the last axis of ``x`` and the result gets the shape
       of ``x`` again, it is ``Softmax(x, axis=-1)``.
    2. Rows that span several axes stay: Softmax has one axis only.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "Softmax", "LogSoftmax"):
                continue
            before, after = (
                producer(node.inputs[0], "Flatten", "Reshape"),
                only_consumer(node.outputs[0]),
            )
            if before is None or after is None or not is_op(after, "Reshape", "Flatten"):
                continue
            value = before.inputs[0]
            if value is None or not _same_rows(value, node, after):
                continue
            replace_node(model.graph, after, node.op_type, [value], {"axis": -1})
            modified = True
        return modified


def _same_rows(value: ir.Value, node: ir.Node, after: ir.Node) -> bool:
    outer, rows = dims_of(value), dims_of(node.outputs[0])
    if not outer or rows is None or outer != dims_of(after.outputs[0]) or "?" in outer:
        return False
    axis = int_attribute(node, "axis", -1)
    return axis in {-1, len(rows) - 1} and rows[-1] == outer[-1] and isinstance(rows[-1], int)
