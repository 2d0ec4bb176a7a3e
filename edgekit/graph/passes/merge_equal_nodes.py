"""Nodes that compute the same are merged."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import can_replace, constant_array, replace_value

_RANDOM = frozenset(
    {
        "Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike",
        "RandomUniform", "RandomUniformLike",
    }
)  # fmt: skip
_PLAIN_ATTRIBUTES = frozenset(
    {
        ir.AttributeType.FLOAT, ir.AttributeType.FLOATS, ir.AttributeType.INT,
        ir.AttributeType.INTS, ir.AttributeType.STRING, ir.AttributeType.STRINGS,
    }
)  # fmt: skip
_SMALL_BYTES = 256
"""Constants up to this size are compared by content: axes, shapes, epsilons."""

type _Key = tuple[object, ...]


class MergeEqualNodes(GraphPass):
    """Lets readers of a node read an earlier one with the same op, inputs and attributes.

    1. Inputs are the same where they are one value, or small constants of equal content.
       Exporters write the ``x - mean`` of a normalization twice, which hides it from the fusion.
    2. Random ops, Dropout and nodes with a subgraph or tensor as attribute stay.
    3. A node stays where one of its outputs cannot be replaced without losing a name of the
       model's interface.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        known: dict[_Key, ir.Node] = {}
        for node in model.graph:
            key = _key(node)
            if key is None:
                continue
            first = known.setdefault(key, node)
            pairs = list(zip(node.outputs, first.outputs, strict=True))
            if first is node or not all(can_replace(old, new) for old, new in pairs):
                continue
            for old, new in pairs:
                replace_value(model.graph, old, new)
            model.graph.remove(node, safe=True)
            modified = True
        return modified


def _key(node: ir.Node) -> _Key | None:
    """What the result depends on; None for a node that is never merged."""
    if node.op_type in _RANDOM and node.domain == "":
        return None
    attributes = list(node.attributes.values())
    if any(a.is_ref() or a.type not in _PLAIN_ATTRIBUTES for a in attributes):
        return None
    values = tuple(
        sorted(
            (attribute.name, int(attribute.type), str(attribute.value)) for attribute in attributes
        )
    )
    inputs = tuple(_identity(value) for value in node.inputs)
    return node.domain, node.op_type, node.overload, inputs, values, len(node.outputs)


def _identity(value: ir.Value | None) -> object:
    array = constant_array(value)
    if array is None or array.nbytes > _SMALL_BYTES or array.dtype == object:
        return None if value is None else id(value)
    return array.dtype.str, array.shape, array.tobytes()
