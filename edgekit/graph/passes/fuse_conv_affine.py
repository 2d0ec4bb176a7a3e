"""Mul and Add by per-channel constants, folded into the layer before them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.affine_folding import Vector, fold_affine, output_channels, refusal
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import Array, constant_array, is_op


class FuseConvAffine(GraphPass):
    """Folds ``Mul``, ``Div``, ``Add`` and ``Sub`` by constants into Conv, ConvTranspose, Gemm.

    1. The constant has one element, or one per output channel along the channel axis.
    2. The node alone reads the layer's output, and the layer's weights are constant.
    3. ``constant / x`` and ``constant - x`` are not of this form and stay.
    4. Otherwise the node stays, with a reason where a layer is before it.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if is_op(node, "Mul", "Div", "Add", "Sub"):
                modified |= self._fold(model.graph, node)
        return modified

    def _fold(self, graph: ir.Graph, node: ir.Node) -> bool:
        data = 0 if constant_array(node.inputs[1]) is not None else 1
        constant = constant_array(node.inputs[1 - data])
        value = node.inputs[data]
        layer = value.producer() if value is not None else None
        if constant is None or value is None or not is_op(layer, "Conv", "ConvTranspose", "Gemm"):
            return False
        if data == 1 and node.op_type in {"Div", "Sub"}:
            return False
        reason = refusal(node, data)
        if reason is not None or layer is None:
            self.keep(node, f"{node.op_type} by a constant is not folded: {reason}")
            return False
        channels = output_channels(layer)
        vector = None if channels is None else _per_channel(node, constant, value, channels)
        if vector is None or channels is None:
            self.keep(node, f"{node.op_type} is not folded: its constant is not per channel")
            return False
        ones, zeros = np.ones(channels), np.zeros(channels)
        if node.op_type in {"Mul", "Div"}:
            if node.op_type == "Div" and not vector.all():
                self.keep(node, "Div is not folded: its constant holds zero")
                return False
            fold_affine(graph, node, vector if node.op_type == "Mul" else 1 / vector, zeros, data)
        else:
            fold_affine(graph, node, ones, vector if node.op_type == "Add" else -vector, data)
        return True


def _per_channel(node: ir.Node, constant: Array, value: ir.Value, channels: int) -> Vector | None:
    """The constant as one float64 per channel; None when it varies along another axis."""
    if value.shape is None or constant.ndim > len(value.shape):
        return None
    if node.outputs[0].shape is None or node.outputs[0].shape != value.shape:
        # The constant broadcasts the layer's output to a larger shape.
        return None
    shape = (1,) * (len(value.shape) - constant.ndim) + constant.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1):
        return None
    if shape[1] not in (1, channels):
        return None
    return np.broadcast_to(constant.astype(np.float64).reshape(-1), (channels,)).copy()
