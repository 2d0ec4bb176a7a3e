"""Norms along axes, written as a sum of what is summed."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.node_writer import NodeWriter
from edgekit.graph.values import input_at, int_attribute, is_op

_NORMS = ("ReduceL1", "ReduceL2", "ReduceSumSquare")


class SplitReduceNorms(GraphPass):
    """Rewrites norms as ReduceSum between elementwise ops.

    1. ReduceL1 is ``ReduceSum(Abs(x))``, ReduceSumSquare ``ReduceSum(x * x)``, and ReduceL2 the
       Sqrt of the latter.
    2. A node that reduces nothing (``noop_with_empty_axes`` without axes) stays.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, *_NORMS):
                continue
            axes = input_at(node, 1)
            if axes is None and int_attribute(node, "noop_with_empty_axes", 0):
                self.keep(node, "it reduces no axis")
                continue
            writer, value = NodeWriter(model.graph, node), node.inputs[0]
            if is_op(node, "ReduceL1"):
                parts = writer.add("Abs", [value], "absolute")
            else:
                parts = writer.add("Mul", [value, value], "square")
            attributes = {
                name: int_attribute(node, name, default)
                for name, default in (("keepdims", 1), ("noop_with_empty_axes", 0))
            }
            total = writer.add("ReduceSum", [parts, axes], "sum", attributes)
            if is_op(node, "ReduceL2"):
                total = writer.add("Sqrt", [total], "root")
            writer.finish([total])
            modified = True
        return modified
