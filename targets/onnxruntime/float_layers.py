"""Keeps layers in float that the graph has in float.

ONNX Runtime 1.26 quantizes the float weights of a Conv, ConvTranspose or Gemm by itself, to 8 bits
with one scale for all of them, where the layer reads a DequantizeLinear with one scale
(``WeightBiasQuantization``): a layer that was kept in float for its accuracy then loses it. It
leaves a DequantizeLinear alone that has several scales, so such a layer gets one with a scale for
each channel (with one channel, for each line) in which all of them are the same.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_initializer, constant_array, input_at, int_attribute, is_op

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def keep_float_layers(model: ir.Model) -> int:
    """Gives these layers a DequantizeLinear of their own; ``model`` is modified.

    Returns:
        How many layers there were.
    """
    count = 0
    for node in list(model.graph):
        if not is_op(node, *_CONVOLUTIONS, "Gemm"):
            continue
        weights, reader = constant_array(input_at(node, 1)), _dequantizer(node)
        if weights is None or weights.dtype != np.float32 or reader is None:
            continue
        slices = _slices(node, weights.shape)
        if slices is None:
            continue
        made = _by_slice(model.graph, reader, node, slices)
        node.replace_input_with(0, made)
        if not reader.outputs[0].uses() and not reader.outputs[0].is_graph_output():
            _take_name(model.graph, reader, made)
        count += 1
    return count


def _dequantizer(node: ir.Node) -> ir.Node | None:
    """The DequantizeLinear with one scale that a layer reads."""
    value = input_at(node, 0)
    reader = None if value is None else value.producer()
    if reader is None or not is_op(reader, "DequantizeLinear"):
        return None
    scale = constant_array(input_at(reader, 1))
    return reader if scale is not None and scale.size == 1 else None


def _slices(node: ir.Node, weights: tuple[int, ...]) -> tuple[int, int] | None:
    """An axis of a layer's input with several positions, and how many; None without one."""
    axis, count = _channels(node, weights)
    if count > 1:
        return axis, count
    sizes = _sizes(input_at(node, 0))
    known = [(at, size) for at, size in enumerate(sizes) if isinstance(size, int) and size > 1]
    return known[-1] if known else None


def _sizes(value: ir.Value | None) -> tuple[object, ...]:
    """Sizes of a value; quantizing keeps them, so those before it count where it has none."""
    while value is not None and value.shape is None:
        maker = value.producer()
        value = input_at(maker, 0) if is_op(maker, *_QUANTIZERS) and maker is not None else None
    return () if value is None or value.shape is None else tuple(value.shape)


def _channels(node: ir.Node, shape: tuple[int, ...]) -> tuple[int, int]:
    """Axis of the input's channels, and how many there are."""
    if node.op_type == "Gemm":
        inputs = shape[1] if int_attribute(node, "transB", 0) else shape[0]
        return (0 if int_attribute(node, "transA", 0) else 1), inputs
    if node.op_type == "ConvTranspose":
        return 1, shape[0]
    return 1, shape[1] * int_attribute(node, "group", 1)


def _by_slice(
    graph: ir.Graph, reader: ir.Node, layer: ir.Node, slices: tuple[int, int]
) -> ir.Value:
    """What a copy of a DequantizeLinear gives that repeats its scale and zero point."""
    axis, count = slices
    inputs: list[ir.Value | None] = [reader.inputs[0]]
    for value in reader.inputs[1:]:
        array = constant_array(value)
        assert value is not None
        assert array is not None
        repeated = np.repeat(array.reshape(-1), count)
        inputs.append(add_initializer(graph, f"{value.name}/of_{layer.name}", repeated))
    former = reader.outputs[0]
    made = ir.Node(
        "",
        "DequantizeLinear",
        inputs,
        attributes=[ir.AttrInt64("axis", axis)],
        num_outputs=1,
        name=f"{reader.name}/of_{layer.name}",
    )
    copy = made.outputs[0]
    copy.name, copy.shape, copy.type = f"{former.name}/of_{layer.name}", former.shape, former.type
    graph.insert_before(layer, made)
    return copy


def _take_name(graph: ir.Graph, reader: ir.Node, made: ir.Value) -> None:
    """Lets a copy stand for a DequantizeLinear that nothing reads any more."""
    name = reader.outputs[0].name
    graph.remove(reader, safe=True)
    made.name = name
