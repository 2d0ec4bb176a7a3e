"""Functions of the model, replaced by their bodies."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass, RemoveUnusedOpsetsPass

from edgekit.graph.passes.graph_pass import GraphPass


class InlineFunctions(GraphPass):
    """Replaces calls of the model's own functions by the nodes of their bodies.

    1. All calls are inlined, nested ones too, and the functions are removed.
    2. A model without functions is left as it is.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        if not model.functions:
            return False
        InlinePass()(model)
        model.functions.clear()
        RemoveUnusedOpsetsPass()(model)
        return True
