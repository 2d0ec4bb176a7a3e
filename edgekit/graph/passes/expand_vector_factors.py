"""Products with a vector, written as products of matrices."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.node_writer import NodeWriter
from edgekit.graph.values import constant_array, is_op


class ExpandVectorFactors(GraphPass):
    """Gives the factors of MatMul two axes at least.

    1. A first factor ``[K]`` becomes ``[1, K]``, a second one ``[K, 1]``, and the axis of size 1
       is squeezed from the product: what ONNX and NumPy define as the product with a vector.
    2. Factors of unknown rank and other products stay.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "MatMul"):
                continue
            left, right = node.inputs
            ranks = [None if v is None or v.shape is None else len(v.shape) for v in (left, right)]
            if left is None or right is None or None in ranks or 1 not in ranks:
                continue
            writer, added = NodeWriter(model.graph, node), []
            if ranks[0] == 1:
                left, added = _with_axis(writer, left, 0, "row"), [-2]
            if ranks[1] == 1:
                right, added = _with_axis(writer, right, 1, "column"), [*added, -1]
            product = writer.add("MatMul", [left, right], "product")
            axes = writer.integers(*added)
            writer.finish([writer.add("Squeeze", [product, axes], "squeezed")])
            modified = True
        return modified


def _with_axis(writer: NodeWriter, value: ir.Value, axis: int, name: str) -> ir.Value:
    array = constant_array(value)
    if array is not None:
        return writer.constant(np.expand_dims(array, axis), name)
    return writer.add("Unsqueeze", [value, writer.integers(axis)], name)
