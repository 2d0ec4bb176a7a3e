"""Stores the weights of a graph as float16; the computation stays float32.

ONNX Runtime's CPU provider has few float16 kernels and would cast around every other node.
So each large float32 weight becomes a float16 initializer and a Cast to float32, which the
runtime folds when it loads the file: half the size on disk, the speed of float32. It is what
the tflite target calls float16, too.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_initializer

SMALLEST_ELEMENTS = 64
"""Smaller tensors stay float32: they weigh nothing, and among them are the sizes and bounds
(Resize, Clip) that the runtime must see as constants."""

_LARGEST = float(np.finfo(np.float16).max)
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def halve_weights(model: ir.Model) -> tuple[str, ...]:
    """Halves every large float32 weight of ``model``, which is modified.

    A weight stays float32 if it has fewer than `SMALLEST_ELEMENTS` elements, if it is a
    scale of a quantizer, if it is a graph output, or if a value lies beyond float16.

    Returns:
        Reasons, one for the whole and one for each weight kept although it is large.
    """
    graph = model.graph
    halved, notes = 0, []
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < SMALLEST_ELEMENTS:
            continue
        reason = _why_kept(value)
        if reason:
            notes.append(f"Weight {name!r} stays float32: {reason}.")
            continue
        _halve(graph, value)
        halved += 1
    return (f"{halved} weights are stored as float16 and computed with in float32.", *notes)


def _why_kept(value: ir.Value) -> str:
    if value.is_graph_output():
        return "it is an output of the graph"
    if any(use.node.op_type in _QUANTIZERS for use in value.uses()):
        return "it is a parameter of a quantizer"
    if any(use.node.graph is not value.graph for use in value.uses()):
        return "a subgraph reads it"
    assert value.const_value is not None
    largest = float(np.abs(value.const_value.numpy()).max())
    if largest > _LARGEST:
        return f"its largest value {largest:g} is beyond float16's {_LARGEST:g}"
    return ""


def _halve(graph: ir.Graph, value: ir.Value) -> None:
    """Replaces one initializer; the Cast's output takes over its name."""
    assert value.const_value is not None
    name = value.name or ""
    array = value.const_value.numpy().astype(np.float16)
    readers = [(use.node, use.idx) for use in value.uses()]
    half = add_initializer(graph, f"{name}_float16", array)
    cast = ir.node(
        "Cast", [half], attributes={"to": ir.DataType.FLOAT.value}, name=f"{name}_to_float32"
    )
    del graph.initializers[name]
    output = cast.outputs[0]
    output.name, output.shape, output.type = name, value.shape, value.type
    for node, index in readers:
        node.replace_input_with(index, output)
    first = next(iter(graph), None)
    if first is None:
        graph.append(cast)
    else:
        graph.insert_before(first, cast)
