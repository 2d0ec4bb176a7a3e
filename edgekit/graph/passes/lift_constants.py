"""Constant nodes become initializers."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import is_op


class LiftConstants(GraphPass):
    """Turns every Constant node of the main graph into an initializer of the same name.

    1. A Constant with a dense tensor, number or list becomes an initializer.
    2. A Constant that is a graph output stays, since an output must come from a node.
    3. Strings and sparse tensors stay, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        graph, modified = model.graph, False
        for node in graph:
            if not is_op(node, "Constant"):
                continue
            output = node.outputs[0]
            if output.is_graph_output():
                continue
            tensor = ir.convenience.get_const_tensor(output)
            if tensor is None or tensor.dtype == ir.DataType.STRING:
                self.keep(node, "Constant of strings or of a sparse tensor is left as a node")
                continue
            name = output.name
            output.name = f"{name}_lifted"
            value = ir.Value(
                name=name,
                shape=ir.Shape(tensor.numpy().shape),
                type=ir.TensorType(tensor.dtype),
                const_value=ir.tensor(tensor.numpy(), dtype=tensor.dtype, name=name),
            )
            graph.register_initializer(value)
            ir.convenience.replace_all_uses_with(output, value)
            graph.remove(node, safe=True)
            modified = True
        return modified
