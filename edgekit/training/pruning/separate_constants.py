"""Constants that several nodes share, one for each of them while channels go.

Exporters store equal arrays once: biases that are all 0, the scales of new norms, the weights
of layers that were copies of each other. Layers that share an array could only be pruned alike.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import Array, add_initializer


def separate_constants(model: ir.Model) -> ir.Model:
    """A copy in which every reader of a float constant with several elements has its own.

    Args:
        model: Not modified.
    """
    result = ir.from_proto(ir.to_proto(model))
    for value in tuple(result.graph.initializers.values()):
        array = _floats(value)
        if array is None or array.size < 2:
            continue
        for node, index in tuple(value.uses())[1:]:
            node.replace_input_with(index, add_initializer(result.graph, str(value.name), array))
    return result


def join_constants(model: ir.Model) -> None:
    """Stores equal float constants once again.

    Args:
        model: Changed in place; computes the same.
    """
    first: dict[tuple[object, ...], ir.Value] = {}
    for name, value in tuple(model.graph.initializers.items()):
        array = _floats(value)
        if array is None or array.size < 2:
            continue
        kept = first.setdefault((array.dtype.str, array.shape, array.tobytes()), value)
        if kept is value:
            continue
        for node, index in tuple(value.uses()):
            node.replace_input_with(index, kept)
        del model.graph.initializers[name]


def _floats(value: ir.Value) -> Array | None:
    """The array of a constant that is no input or output of the graph; None for another."""
    if value.const_value is None or value.is_graph_input() or value.is_graph_output():
        return None
    array = value.const_value.numpy()
    return array if np.issubdtype(array.dtype, np.floating) else None
