"""Normalizations of opsets after the canonical one, written in its ops.

RMSNormalization (opset 23): ``y = x / sqrt(mean(x**2) + epsilon) * scale`` over the last axes
(Zhang and Sennrich, arXiv:1910.07467). GroupNormalization of opset 21 has a scale and bias for
each channel, where opset 18 had them for each group.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.node_writer import NodeWriter
from edgekit.graph.values import float_attribute, input_at, int_attribute, is_op

_EPSILON = 1e-5


def split_later_norms(model: ir.Model) -> None:
    """Rewrites them where the rank of their input is known; others stay."""
    found = [n for n in model.graph if is_op(n, "RMSNormalization", "GroupNormalization")]
    if not found:
        return
    InferShapes()(model)
    for node in found:
        value = node.inputs[0]
        if value is None or value.shape is None:
            continue
        writer = NodeWriter(model.graph, node)
        if is_op(node, "RMSNormalization"):
            result = _rms_norm(writer, node, value, len(value.shape))
        else:
            result = _group_norm(writer, node, value, len(value.shape))
        writer.finish([result])


def _rms_norm(writer: NodeWriter, node: ir.Node, value: ir.Value, rank: int) -> ir.Value:
    first = int_attribute(node, "axis", -1) % rank
    epsilon = np.array(float_attribute(node, "epsilon", _EPSILON), np.float32)
    square = writer.add("Mul", [value, value], "square")
    axes = writer.integers(*range(first - rank, 0))
    mean = writer.add("ReduceMean", [square, axes], "mean")
    positive = writer.add("Add", [mean, writer.constant(epsilon, "epsilon")], "positive")
    root = writer.add("Sqrt", [positive], "root")
    quotient = writer.add("Div", [value, root], "normalized")
    return writer.add("Mul", [quotient, input_at(node, 1)], "scaled")


def _group_norm(writer: NodeWriter, node: ir.Node, value: ir.Value, rank: int) -> ir.Value:
    groups = int_attribute(node, "num_groups", 1)
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    epsilon = {"epsilon": float_attribute(node, "epsilon", _EPSILON)}
    grouped = writer.add("Reshape", [value, writer.integers(0, groups, -1)], "groups")
    inputs = [grouped, writer.constant(ones, "ones"), writer.constant(zeros, "zeros")]
    normalized = writer.add("InstanceNormalization", inputs, "normalized", epsilon)
    shape = writer.add("Shape", [value], "shape")
    total = writer.add("Reshape", [normalized, shape], "channels")
    for index, (op_type, name) in enumerate((("Mul", "scaled"), ("Add", "shifted")), 1):
        operand = input_at(node, index)
        if rank > 2:
            axes = writer.integers(*range(1, rank - 1))
            operand = writer.add("Unsqueeze", [operand, axes], f"{name}_by")
        total = writer.add(op_type, [total, operand], name)
    return total
