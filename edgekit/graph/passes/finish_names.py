"""Unique names and one stable order, so that equal graphs give equal files."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass

GRAPH_NAME = "main_graph"


class FinishNames(GraphPass):
    """Names what has no name and orders what has no order.

    1. A node without a name, or with a name that an earlier node has, is called after its
       op type and first output.
    2. A value without a name is called after its node; names of other values are kept.
    3. Nodes are sorted topologically (a stable sort); initializers by first use.
    4. The graph gets a fixed name.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        graph = model.graph
        graph.sort()
        graph.name = GRAPH_NAME
        values = {value.name for value in (*graph.inputs, *graph.initializers.values())}
        values |= {value.name for node in graph for value in node.outputs}
        nodes: set[str] = set()
        for index, node in enumerate(graph):
            if not node.name or node.name in nodes:
                name = _unique(f"{node.op_type}_{node.outputs[0].name or index}", nodes)
                node.name = name
            nodes.add(node.name or "")
            for position, value in enumerate(node.outputs):
                if not value.name and (value.uses() or position == 0):
                    value.name = _unique(f"{node.name}_output_{position}", values)
                    values.add(value.name)
        _order_initializers(graph)
        # Only names and order have changed, so there is nothing to verify.
        return False


def _unique(name: str, taken: set[str] | set[str | None]) -> str:
    unique, count = name, 1
    while unique in taken:
        unique = f"{name}_{count}"
        count += 1
    return unique


def _order_initializers(graph: ir.Graph) -> None:
    used = [value for node in graph for value in node.inputs if value is not None]
    order = [value.name for value in used if value.name in graph.initializers]
    values = dict(graph.initializers.items())
    graph.initializers.clear()
    for name in (*dict.fromkeys(order), *sorted(values.keys() - set(order))):
        if name is not None:
            graph.register_initializer(values[name])
