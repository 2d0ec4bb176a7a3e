"""GroupNormalization, re-fused from the reshaped InstanceNormalization that exporters write.

``y = (x - mean) / sqrt(variance + epsilon)`` over groups of channels (Wu and He,
arXiv:1803.08494). The op of opset 18 is deprecated in the canonical opset, so only what lowers a
graph makes it, not what writes one.
"""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import producer
from edgekit.graph.signature import dims_of
from edgekit.graph.values import (
    constant_array,
    float_attribute,
    is_op,
    only_consumer,
    replace_node,
)


class FuseGroupNorm(GraphPass):
    """Rewrites three nodes as one.

    1. ``Reshape(InstanceNormalization(Reshape(x, [N, groups, ...]), scale, bias), shape of x)`` is
       GroupNormalization of opset 18, whose scale and bias belong to groups, where both are
       constant and nothing else reads what lies between.
    2. The Mul and Add with a scale and bias for each channel stay behind it.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "InstanceNormalization"):
                continue
            before, after = producer(node.inputs[0], "Reshape"), only_consumer(node.outputs[0])
            if before is None or after is None or not _is_grouping(before, node, after):
                continue
            dims = dims_of(before.outputs[0])
            groups = dims[1] if dims is not None else None
            if isinstance(groups, int):
                inputs = [before.inputs[0], *node.inputs[1:]]
                epsilon = float_attribute(node, "epsilon", 1e-5)
                attributes: dict[str, int | float | str | list[int]] = {
                    "num_groups": groups,
                    "epsilon": epsilon,
                }
                replace_node(model.graph, after, "GroupNormalization", inputs, attributes)
                modified = True
        return modified


def _is_grouping(before: ir.Node, node: ir.Node, after: ir.Node) -> bool:
    """Whether the channels are cut into groups before ``node`` and joined after it."""
    value = before.inputs[0]
    if (
        value is None
        or only_consumer(before.outputs[0]) is not node
        or not is_op(after, "Reshape")
    ):
        return False
    if any(constant_array(operand) is None for operand in node.inputs[1:]):
        return False
    outer, inner, final = dims_of(value), dims_of(before.outputs[0]), dims_of(after.outputs[0])
    if outer is None or inner is None or len(outer) < 2 or len(inner) < 3 or outer != final:
        return False
    channels, groups = outer[1], inner[1]
    if not isinstance(channels, int) or not isinstance(groups, int):
        return False
    return outer[0] == inner[0] and outer[0] != "?" and channels % groups == 0
