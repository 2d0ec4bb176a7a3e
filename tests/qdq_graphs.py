"""Quantized graphs for tests: Q/DQ inserted by minimum and maximum, without any search.

Follows the contract of a QDQ graph (names, per-channel weights, 32-bit biases, shared
parameters of same-scale ops, fixed ones behind Softmax and its kind, no pair between an op
and the activation that its kernel applies), independently of the package.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import (
    Array,
    add_initializer,
    constant_array,
    int_attribute,
    only_consumer,
)

_SAME_SCALE = {
    "MaxPool", "AveragePool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice",
    "Split", "Concat", "Pad", "Resize", "Gather", "DepthToSpace", "SpaceToDepth", "Expand",
}  # fmt: skip
_FUSING = {"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "Mul"}
_LAYERS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
_FIXED = {
    "Softmax": (1 / 256, -128), "Sigmoid": (1 / 256, -128), "Tanh": (1 / 128, 0),
    "HardSigmoid": (1 / 255, -128), "LogSoftmax": (16 / 256, 127),
}  # fmt: skip


def insert_qdq(model: ir.Model, feeds: Mapping[str, Array]) -> ir.Model:
    """A quantized copy of a canonical float graph, calibrated on one feed."""
    ranges = _ranges(model, feeds)
    model = ir.from_proto(ir.to_proto(model))
    graph = model.graph
    values = [value for value in graph.inputs if value.dtype == ir.DataType.FLOAT]
    values += [
        value
        for node in graph
        for value in node.outputs
        if value.dtype == ir.DataType.FLOAT and not _is_fused(value)
    ]
    parameters = _parameters(graph, values, ranges)
    nodes = list(graph)
    for value in values:
        _quantize_value(graph, value, parameters[value])
    for node in nodes:
        _quantize_constants(graph, node, parameters)
    graph.sort()
    return model


def _ranges(model: ir.Model, feeds: Mapping[str, Array]) -> dict[str, tuple[float, float]]:
    """Lowest and highest element of every float value, by ONNX Runtime."""
    watched = ir.from_proto(ir.to_proto(model))
    known = {value.name for value in watched.graph.outputs}
    for node in watched.graph:
        for value in node.outputs:
            if value.dtype == ir.DataType.FLOAT and value.name not in known:
                watched.graph.outputs.append(value)
    with ReferenceSession(watched, optimization="disabled") as session:
        found = {**session.run(feeds), **feeds}
    return {
        name: (min(0.0, float(array.min())), max(0.0, float(array.max())))
        for name, array in found.items()
        if array.size
    }


def _is_fused(value: ir.Value) -> bool:
    """True for a value between an op and the bias or activation of its kernel."""
    node, follower = value.producer(), only_consumer(value)
    if node is None or follower is None or node.op_type not in _FUSING:
        return False
    if node.op_type == "MatMul" and follower.op_type == "Add":
        return _row_bias(node, follower) is not None
    layer_of_two = node.op_type == "MatMul" and constant_array(node.inputs[1]) is None
    return follower.op_type in ("Relu", "Clip") and not layer_of_two


def _row_bias(node: ir.Node, follower: ir.Node) -> int | None:
    weights = constant_array(node.inputs[1])
    for index, value in enumerate(follower.inputs):
        row = constant_array(value)
        if row is not None and weights is not None and row.shape == weights.shape[1:]:
            return index
    return None


def _parameters(
    graph: ir.Graph, values: list[ir.Value], ranges: Mapping[str, tuple[float, float]]
) -> dict[ir.Value, tuple[np.float32, int]]:
    parent = {value: value for value in values}

    def root(value: ir.Value) -> ir.Value:
        while parent[value] is not value:
            value = parent[value]
        return value

    for node in graph:
        if node.op_type in _SAME_SCALE:
            inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
            for value in (*inputs, *node.outputs):
                if value in parent and node.outputs[0] in parent:
                    parent[root(value)] = root(node.outputs[0])
    low = dict.fromkeys(values, 0.0)
    high = dict(low)
    for value in values:
        least, most = ranges[value.name or ""]
        low[root(value)] = min(low[root(value)], least)
        high[root(value)] = max(high[root(value)], most)
    found = {}
    for value in values:
        top = root(value)
        scale = np.float32(max(high[top] - low[top], 1e-3) / 255)
        found[value] = scale, int(np.clip(np.rint(-128 - low[top] / scale), -128, 127))
    for value in values:
        producer = value.producer()
        if producer is not None and producer.op_type in _FIXED:
            for other in values:
                if root(other) is root(value):
                    step, zero = _FIXED[producer.op_type]
                    found[other] = np.float32(step), zero
    return found


def _quantize_value(graph: ir.Graph, value: ir.Value, parameters: tuple[np.float32, int]) -> None:
    name, shape = value.name or "", value.shape
    readers = [(use.node, use.idx) for use in value.uses()]
    scale = add_initializer(graph, f"{name}/scale", np.array(parameters[0], np.float32))
    zero = add_initializer(graph, f"{name}/zero_point", np.array(parameters[1], np.int8))
    quantize = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}/quantize")
    integers = quantize.outputs[0]
    integers.name, integers.shape = f"{name}/int8", shape
    integers.type = ir.TensorType(ir.DataType.INT8)
    dequantize = ir.node("DequantizeLinear", [integers, scale, zero], name=f"{name}/dequantize")
    result = dequantize.outputs[0]
    result.name, result.shape = f"{name}/dequantized", shape
    result.type = ir.TensorType(ir.DataType.FLOAT)
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], [quantize, dequantize])
    else:
        graph.insert_after(producer, [quantize, dequantize])
    for node, index in readers:
        node.replace_input_with(index, result)
    if value.is_graph_output():
        for index, output in enumerate(graph.outputs):
            if output is value:
                graph.outputs[index] = result
        value.name, result.name = f"{name}/float", name


def _quantize_constants(
    graph: ir.Graph, node: ir.Node, parameters: Mapping[ir.Value, tuple[np.float32, int]]
) -> None:
    stored = constant_array(node.inputs[1]) if len(node.inputs) > 1 else None
    if node.op_type in _LAYERS and stored is not None and stored.ndim >= 2:
        weights = stored.astype(np.float32)
        axis = _weight_axis(node)
        others = tuple(dim for dim in range(weights.ndim) if dim != axis)
        largest = np.maximum(np.abs(weights).max(axis=others), 1e-6).astype(np.float32)
        scale = (largest / 127).astype(np.float32)
        shape = [-1 if dim == axis else 1 for dim in range(weights.ndim)]
        integers = np.clip(np.rint(weights / scale.reshape(shape)), -127, 127).astype(np.int8)
        _dequantize_input(graph, node, 1, integers, scale, axis)
        _quantize_bias(graph, node, scale)
    elif node.op_type in ("Add", "Sub", "Mul", "Div"):
        for index, value in enumerate(node.inputs):
            array = constant_array(value)
            if array is not None and array.dtype == np.float32:
                floats = array.astype(np.float32)
                step = np.array(max(float(np.abs(floats).max()), 1e-6) / 127, np.float32)
                integers = np.clip(np.rint(floats / step), -127, 127).astype(np.int8)
                _dequantize_input(graph, node, index, integers, step, None)


def _weight_axis(node: ir.Node) -> int:
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and int_attribute(node, "transB", 0) else 1


def _quantize_bias(graph: ir.Graph, node: ir.Node, weight_scale: Array) -> None:
    x = node.inputs[0]
    producer = None if x is None else x.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        raise AssertionError(f"the input of {node.name} is not quantized")
    target: tuple[ir.Node, int] | None = (node, 2) if len(node.inputs) > 2 else None
    if node.op_type == "MatMul":
        follower = only_consumer(node.outputs[0])
        index = _row_bias_of_quantized(follower, weight_scale.size) if follower else None
        target = None if follower is None or index is None else (follower, index)
    if target is None:
        return
    layer, index = target
    bias = constant_array(layer.inputs[index])
    step = constant_array(producer.inputs[1])
    assert bias is not None
    assert step is not None
    groups = bias.size // weight_scale.size
    scale = np.tile(step.astype(np.float32) * weight_scale.astype(np.float32), groups)
    integers = (
        np.rint(bias.reshape(-1).astype(np.float32) / scale).astype(np.int32).reshape(bias.shape)
    )
    _dequantize_input(graph, layer, index, integers, scale, bias.ndim - 1)


def _row_bias_of_quantized(follower: ir.Node, channels: int) -> int | None:
    for index, value in enumerate(follower.inputs):
        row = constant_array(value)
        if follower.op_type == "Add" and row is not None and row.shape == (channels,):
            return index
    return None


def _dequantize_input(
    graph: ir.Graph, node: ir.Node, index: int, integers: Array, scale: Array, axis: int | None
) -> None:
    value = node.inputs[index]
    assert value is not None
    name = f"{value.name}/of/{node.name}"
    stored = add_initializer(graph, f"{name}/integers", integers)
    scales = add_initializer(graph, f"{name}/scale", scale)
    zeros = add_initializer(graph, f"{name}/zero_point", np.zeros(scale.shape, integers.dtype))
    attributes = {} if axis is None else {"axis": axis}
    dequantize = ir.node(
        "DequantizeLinear", [stored, scales, zeros], attributes, name=f"{name}/dequantize"
    )
    result = dequantize.outputs[0]
    result.name, result.shape = f"{name}/dequantized", ir.Shape(integers.shape)
    result.type = ir.TensorType(ir.DataType.FLOAT)
    graph.insert_before(node, dequantize)
    node.replace_input_with(index, result)
