"""Division by a constant as multiplication, for which there are integer kernels."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import add_initializer, constant_array, is_op, replace_node


class DivideAsMultiply(GraphPass):
    """Rewrites ``x / c`` as ``x * (1 / c)`` for constant float32 ``c``.

    1. Where an element of ``c`` is 0 or its reciprocal is not finite, the node stays.
    2. The result differs by float32 rounding alone.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "Div"):
                continue
            value, divisor = node.inputs[0], constant_array(node.inputs[1])
            if divisor is None or divisor.dtype != np.float32 or constant_array(value) is not None:
                continue
            with np.errstate(divide="ignore", over="ignore"):
                reciprocal = (1.0 / divisor.astype(np.float64)).astype(np.float32)
            if not np.isfinite(reciprocal).all():
                self.keep(node, "divides by a constant that has no finite reciprocal")
                continue
            name = f"{node.name}_reciprocal"
            factor = add_initializer(model.graph, name, reciprocal)
            replace_node(model.graph, node, "Mul", [value, factor])
            modified = True
        return modified
