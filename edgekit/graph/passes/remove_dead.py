"""Removal of what nothing reads."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

from edgekit.graph.passes.graph_pass import GraphPass


class RemoveDead(GraphPass):
    """Removes nodes, initializers and opset imports that no output depends on.

    1. A node without a used output is removed; so are initializers that nothing reads.
    2. Trailing optional outputs that nothing reads are dropped (the mask of Dropout).
    3. Inputs of the model stay even when unused: they are its interface.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = RemoveUnusedNodesPass()(model).modified
        modified |= _remove_captured(model.graph)
        return RemoveUnusedOpsetsPass()(model).modified or modified


def _remove_captured(graph: ir.Graph) -> bool:
    """Removes initializers that only the subgraph of a removed node still seems to read."""
    read = {value for node in graph.all_nodes() for value in node.inputs}
    inner = [g for g in graph.subgraphs() if g is not graph]
    read.update(value for g in (graph, *inner) for value in (*g.outputs, *g.inputs))
    dead = [name for name, value in graph.initializers.items() if value not in read]
    for name in dead:
        del graph.initializers[name]
    return bool(dead)
