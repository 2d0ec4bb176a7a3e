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
        return RemoveUnusedOpsetsPass()(model).modified or modified
