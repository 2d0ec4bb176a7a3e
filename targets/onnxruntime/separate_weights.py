"""Gives every layer integers of its own where several share their weights.

ONNX Runtime 1.26 converts the integers of each layer where ``session.x64quantprecision`` is set,
and refuses the model when two layers give it the same ones, or the same zero points
("Attempt to replace the existing tensor").
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_initializer, constant_array, is_op

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def separate_weights(model: ir.Model) -> int:
    """Copies shared integers with their DequantizeLinear; ``model`` is modified.

    Returns:
        How many copies were made.
    """
    count = 0
    for node in list(model.graph):
        if not is_op(node, "DequantizeLinear") or constant_array(node.inputs[0]) is None:
            continue
        uses = [use for use in node.outputs[0].uses() if is_op(use.node, *_LAYERS)]
        for number, use in enumerate(uses[1:], start=1):
            copy = _copied(model.graph, node, number)
            use.node.replace_input_with(use.idx, copy)
            count += 1
    return count


def _copied(graph: ir.Graph, node: ir.Node, number: int) -> ir.Value:
    """The dequantized value of a copy of the integers and their parameters."""
    inputs: list[ir.Value | None] = []
    for value in node.inputs:
        array = constant_array(value)
        if value is None or array is None:
            inputs.append(value)
        else:
            inputs.append(add_initializer(graph, f"{value.name}_copy{number}", np.array(array)))
    made = ir.Node(
        "",
        "DequantizeLinear",
        inputs,
        attributes=tuple(node.attributes.values()),
        num_outputs=1,
        name=f"{node.name}_copy{number}",
    )
    copy, former = made.outputs[0], node.outputs[0]
    copy.name, copy.shape, copy.type = f"{former.name}_copy{number}", former.shape, former.type
    graph.insert_after(node, made)
    return copy
