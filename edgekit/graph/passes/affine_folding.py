"""Folding ``y = factor * x + offset`` (per channel) into the layer that makes ``x``."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.graph.values import (
    add_initializer,
    constant_array,
    float_attribute,
    input_at,
    int_attribute,
    is_op,
    only_consumer,
    replace_value,
)

type Vector = npt.NDArray[np.float64]

LAYERS = ("Conv", "ConvTranspose", "Gemm")
"""Ops with weights that a per-channel factor can be multiplied into."""


def refusal(node: ir.Node, data: int = 0) -> str | None:
    """Why ``node`` cannot be folded into the producer of its input ``data``; None if it can."""
    value = node.inputs[data]
    layer = value.producer() if value is not None else None
    if value is None or layer is None or not is_op(layer, *LAYERS):
        return "its input comes from no Conv, ConvTranspose or Gemm"
    if only_consumer(value) is not node:
        return f"the output of {layer.op_type} {layer.name!r} has other readers"
    if constant_array(layer.inputs[1]) is None:
        return f"the weights of {layer.op_type} {layer.name!r} are not constant"
    bias = input_at(layer, 2)
    if bias is not None and constant_array(bias) is None:
        return f"the bias of {layer.op_type} {layer.name!r} is not constant"
    return None


def output_channels(layer: ir.Node) -> int | None:
    """Number of output channels of a layer with constant weights."""
    weights = constant_array(layer.inputs[1])
    if weights is None:
        return None
    if layer.op_type == "Conv":
        return int(weights.shape[0])
    if layer.op_type == "ConvTranspose":
        return int(weights.shape[1]) * int_attribute(layer, "group", 1)
    return int(weights.shape[0 if int_attribute(layer, "transB", 0) else 1])


def fold_affine(
    graph: ir.Graph, node: ir.Node, factor: Vector, offset: Vector, data: int = 0
) -> None:
    """Multiplies ``factor`` into the layer before ``node``, adds ``offset``, removes ``node``.

    Args:
        graph: Modified.
        node: Computes ``factor * x + offset``; `refusal` must have given None.
        factor: One value per output channel, float64.
        offset: One value per output channel, float64.
        data: Index of the input of ``node`` that is ``x``.
    """
    value = node.inputs[data]
    layer = value.producer() if value is not None else None
    if value is None or layer is None:
        raise ValueError(f"node {node.name!r} has no layer before it")
    weights = constant_array(layer.inputs[1])
    if weights is None:
        raise ValueError(f"weights of {layer.name!r} are not constant")
    folded = weights.astype(np.float64) * _per_weight(layer, factor, weights.shape)
    base = layer.name or value.name or layer.op_type
    old_bias = constant_array(input_at(layer, 2))
    scale = 1.0
    if layer.op_type == "Gemm":
        folded = folded * float_attribute(layer, "alpha", 1.0)
        scale = float_attribute(layer, "beta", 1.0)
        for name in ("alpha", "beta"):
            layer.attributes.pop(name, None)
    bias = np.zeros(1) if old_bias is None else old_bias.astype(np.float64) * scale
    new_bias = np.broadcast_to(bias * factor + offset, bias.shape[:-1] + factor.shape)
    _set_constant(graph, layer, 1, f"{base}_weight", folded.astype(weights.dtype))
    _set_constant(graph, layer, 2, f"{base}_bias", new_bias.astype(weights.dtype))
    replace_value(graph, node.outputs[0], value)
    graph.remove(node, safe=True)


def _per_weight(layer: ir.Node, factor: Vector, shape: tuple[int, ...]) -> Vector:
    """``factor`` in a shape that broadcasts over the weights of ``layer``."""
    ones = (1,) * (len(shape) - 2)
    if layer.op_type == "Conv":
        return factor.reshape(-1, 1, *ones)
    if layer.op_type == "Gemm":
        return factor.reshape((-1, 1) if int_attribute(layer, "transB", 0) else (1, -1))
    # Weights of ConvTranspose are [inputs, outputs / group, ...], the inputs sorted by group.
    group = int_attribute(layer, "group", 1)
    per_group = factor.reshape(group, 1, -1)
    rows = np.broadcast_to(per_group, (group, shape[0] // group, per_group.shape[-1]))
    return rows.reshape(shape[0], -1, *ones)


def _set_constant(
    graph: ir.Graph, layer: ir.Node, index: int, name: str, array: npt.NDArray[np.generic]
) -> None:
    """Gives ``layer`` a constant input, keeping the old name where it becomes free."""
    old = input_at(layer, index)
    kept = None if old is None else old.name
    if kept is not None and old is not None and len(old.uses()) == 1:
        layer.replace_input_with(index, None)
        graph.initializers.pop(kept, None)
    value = add_initializer(graph, kept or name, array)
    if index >= len(layer.inputs):
        layer.resize_inputs(index + 1)
    layer.replace_input_with(index, value)
