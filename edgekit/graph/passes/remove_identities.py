"""Removal of nodes that change nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.signature import static_shape
from edgekit.graph.values import (
    can_replace,
    constant_array,
    constant_ints,
    input_at,
    int_attribute,
    ints_attribute,
    replace_node,
    replace_value,
)


class RemoveIdentities(GraphPass):
    """Removes nodes whose output equals their first input.

    1. Identity.
    2. Dropout at inference (``training_mode`` absent or constant false, mask unused).
    3. Cast to the dtype the value has.
    4. Transpose with the identity permutation.
    5. Reshape, Expand, Squeeze, Unsqueeze, Flatten to the shape the value has, where both
       shapes are the same static one, or the same but for one symbolic dim.
    6. Pad by zero; Slice of everything; Concat, Sum, Max, Min or Mean of one input; Split
       into one part.
    7. Mul or Div by one, Add or Sub of zero, where that does not broadcast.
    8. A node that joins a graph input with a graph output becomes an Identity, since both
       names belong to the interface.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            rule = _RULES.get(node.op_type) if node.domain == "" else None
            kept = rule(node) if rule is not None else None
            if kept is None:
                continue
            output = node.outputs[0]
            if any(other.uses() or other.is_graph_output() for other in node.outputs[1:]):
                continue
            if not can_replace(output, kept):
                self.keep(node, "joins an input or constant with an output, whose names both stay")
                if node.op_type != "Identity":
                    replace_node(model.graph, node, "Identity", [kept])
                    modified = True
                continue
            replace_value(model.graph, output, kept)
            model.graph.remove(node, safe=True)
            modified = True
        return modified


def _always(node: ir.Node) -> ir.Value | None:
    return node.inputs[0]


def _dropout(node: ir.Node) -> ir.Value | None:
    training = input_at(node, 2)
    if training is None:
        return node.inputs[0]
    flag = constant_array(training)
    return node.inputs[0] if flag is not None and not flag.any() else None


def _cast(node: ir.Node) -> ir.Value | None:
    value = node.inputs[0]
    if value is None or value.dtype is None:
        return None
    return value if int(value.dtype) == int_attribute(node, "to", 0) else None


def _transpose(node: ir.Node) -> ir.Value | None:
    perm = ints_attribute(node, "perm")
    return node.inputs[0] if perm and perm == tuple(range(len(perm))) else None


def _same_shape(node: ir.Node) -> ir.Value | None:
    value, output = node.inputs[0], node.outputs[0]
    if value is None or value.shape is None or output.shape is None:
        return None
    if len(value.shape) != len(output.shape):
        return None
    # One symbolic dim is fixed by the number of elements when all others agree.
    differing = [
        (old, new)
        for old, new in zip(value.shape, output.shape, strict=True)
        if not (isinstance(old, int) and isinstance(new, int) and old == new)
    ]
    if any(isinstance(old, int) and isinstance(new, int) for old, new in differing):
        return None
    limit = 0 if node.op_type == "Expand" else 1
    return value if len(differing) <= limit else None


def _pad(node: ir.Node) -> ir.Value | None:
    pads = constant_ints(input_at(node, 1))
    return node.inputs[0] if pads is not None and not any(pads) else None


def _slice(node: ir.Node) -> ir.Value | None:
    value, output = node.inputs[0], node.outputs[0]
    steps = constant_ints(input_at(node, 4)) if input_at(node, 4) is not None else (1,)
    if value is None or steps is None or any(step != 1 for step in steps):
        return None
    before, after = static_shape(value), static_shape(output)
    return value if before is not None and before == after else None


def _only_input(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.inputs) == 1 else None


def _only_output(node: ir.Node) -> ir.Value | None:
    return node.inputs[0] if len(node.outputs) == 1 else None


def _neutral(element: float, *, commutes: bool) -> Callable[[ir.Node], ir.Value | None]:
    def rule(node: ir.Node) -> ir.Value | None:
        output = node.outputs[0].shape
        for kept, other in ((0, 1), (1, 0)) if commutes else ((0, 1),):
            value, constant = node.inputs[kept], constant_array(node.inputs[other])
            if value is None or constant is None or value.shape is None or output is None:
                continue
            if value.shape != output or constant.ndim > len(value.shape):
                continue
            if constant.size and np.all(constant == element):
                return value
        return None

    return rule


_RULES: dict[str, Callable[[ir.Node], ir.Value | None]] = {
    "Identity": _always,
    "Dropout": _dropout,
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _same_shape,
    "Expand": _same_shape,
    "Squeeze": _same_shape,
    "Unsqueeze": _same_shape,
    "Flatten": _same_shape,
    "Pad": _pad,
    "Slice": _slice,
    "Concat": _only_input,
    "Sum": _only_input,
    "Max": _only_input,
    "Min": _only_input,
    "Mean": _only_input,
    "Split": _only_output,
    "Mul": _neutral(1.0, commutes=True),
    "Div": _neutral(1.0, commutes=False),
    "Add": _neutral(0.0, commutes=True),
    "Sub": _neutral(0.0, commutes=False),
}
