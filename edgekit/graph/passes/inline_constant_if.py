"""If with a constant condition, replaced by the branch that is taken."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import constant_array, is_op, replace_value


class InlineConstantIf(GraphPass):
    """Replaces If by the nodes of one branch.

    1. With a constant condition the nodes of the branch taken move to the place of the If;
       older exporters of torch write such nodes for ``squeeze``.
    2. A branch that gives out its own constant gets an Identity for it.
    3. If with a condition that is computed stays, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "If"):
                continue
            condition = constant_array(node.inputs[0])
            if condition is None:
                self.keep(node, "If has a condition that is known only when it runs")
                continue
            branch = node.attributes["then_branch" if condition.any() else "else_branch"]
            _inline(model.graph, node, branch.as_graph())
            modified = True
        return modified


def _inline(graph: ir.Graph, node: ir.Node, branch: ir.Graph) -> None:
    prefix = node.name or node.outputs[0].name or "if"
    nodes, outputs = tuple(branch), tuple(branch.outputs)
    # A value belongs to its graph for as long as it is one of the outputs.
    branch.outputs.clear()
    # Names of a branch are unique in it only, and other branches may use them too.
    for value in tuple(branch.initializers.values()):
        del branch.initializers[value.name or ""]
        value.name = f"{prefix}_{value.name}"
        graph.register_initializer(value)
    branch.remove(nodes)
    for inner in nodes:
        inner.name = f"{prefix}_{inner.name}" if inner.name else None
        for value in inner.outputs:
            value.name = f"{prefix}_{value.name}"
    graph.insert_before(node, nodes)
    for old, new in zip(node.outputs, outputs, strict=True):
        produced = new
        if new.producer() not in nodes:
            identity = ir.node("Identity", [new], name=f"{prefix}_{old.name}_identity")
            identity.outputs[0].shape, identity.outputs[0].type = old.shape, old.type
            identity.outputs[0].name = f"{prefix}_{old.name}_given"
            graph.insert_before(node, identity)
            produced = identity.outputs[0]
        replace_value(graph, old, produced)
    graph.remove(node, safe=True)
