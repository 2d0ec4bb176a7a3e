"""Chains of Transpose and of Reshape, merged into one."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import producer
from edgekit.graph.signature import dims_of
from edgekit.graph.values import (
    constant_ints,
    input_at,
    int_attribute,
    ints_attribute,
    is_op,
    only_consumer,
    remove_unread,
    replace_node,
)

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


class MergeLayoutChains(GraphPass):
    """Merges nodes that only rearrange the result of another such node.

    1. ``Transpose(Transpose(x))`` is one Transpose with the composed permutation, where
       nothing else reads the value between.
    2. ``Reshape`` after Reshape, Flatten, Squeeze or Unsqueeze, which it alone reads, reads
       their input instead, where its constant target names every size or only ``-1``
       besides: a 0 in the target copies a size of the value between.
    3. Other chains stay.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if is_op(node, "Transpose"):
                modified |= _compose(model.graph, node)
            elif is_op(node, "Reshape"):
                modified |= _skip_inner(model.graph, node)
        return modified


def _compose(graph: ir.Graph, node: ir.Node) -> bool:
    inner = producer(node.inputs[0], "Transpose")
    if inner is None or only_consumer(inner.outputs[0]) is not node:
        return False
    first, second = _permutation(inner), _permutation(node)
    if not first or len(first) != len(second):
        return False
    composed = [first[axis] for axis in second]
    replace_node(graph, node, "Transpose", [inner.inputs[0]], {"perm": composed})
    return True


def _permutation(node: ir.Node) -> tuple[int, ...]:
    dims = dims_of(node.outputs[0])
    rank = 0 if dims is None else len(dims)
    return ints_attribute(node, "perm", tuple(reversed(range(rank))))


def _skip_inner(graph: ir.Graph, node: ir.Node) -> bool:
    inner = producer(node.inputs[0], *_RESHAPES)
    target = constant_ints(input_at(node, 1))
    if inner is None or target is None or only_consumer(inner.outputs[0]) is not node:
        return False
    if 0 in target or int_attribute(node, "allowzero", 0):
        return False
    between = inner.outputs[0]
    node.replace_input_with(0, inner.inputs[0])
    remove_unread(graph, [between])
    return True
