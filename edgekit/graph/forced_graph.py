"""A graph whose operators read given values instead of those that were computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import constant_array, input_at

GIVEN = "/given"
"""What is added to a value's name for the input that its readers read instead."""


def forced_graph(
    model: ir.Model,
    names: Iterable[str],
    keeps_reading: Callable[[ir.Value, ir.Node], bool] | None = None,
) -> ir.Model:
    """A copy with these values as its only outputs, and an input for each in their place.

    What is computed of a value goes to an output; what reads it reads the input ``NAME/given``.
    Values that nothing reads get no input.

    Args:
        model: Not modified.
        names: Values that nodes make.
        keeps_reading: Tells of a value and a node of the copy whether the node goes on to read
            what was computed; by default none does.
    """
    wanted = set(names)
    model = ir.from_proto(ir.to_proto(model))
    graph = model.graph
    values = [value for node in graph for value in node.outputs if value.name in wanted]
    graph.outputs.clear()
    for value in values:
        graph.outputs.append(value)
        uses = [
            use
            for use in value.uses()
            if keeps_reading is None or not keeps_reading(value, use.node)
        ]
        if not uses:
            continue
        given = ir.Value(name=f"{value.name}{GIVEN}", shape=_shape(value), type=_type(value))
        graph.inputs.append(given)
        for use in uses:
            use.node.replace_input_with(use.idx, given)
    return model


def integers_of(node: ir.Node) -> np.dtype[Any]:
    """Type of the integers that a QuantizeLinear gives."""
    zero_point = constant_array(input_at(node, 2))
    return np.dtype(np.uint8) if zero_point is None else zero_point.dtype


def _type(value: ir.Value) -> ir.TypeProtocol:
    """Type of a value; files need not state it."""
    node = value.producer()
    if node is not None and node.op_type == "QuantizeLinear":
        return ir.TensorType(ir.DataType.from_numpy(integers_of(node)))
    return value.type or ir.TensorType(ir.DataType.FLOAT)


def _shape(value: ir.Value) -> ir.Shape | None:
    node = value.producer()
    if value.shape is not None or node is None or node.op_type != "QuantizeLinear":
        return value.shape
    source = node.inputs[0]
    return None if source is None else source.shape
