"""BatchNormalization at inference, folded into the layer before it.

``y = scale * (x - mean) / sqrt(var + epsilon) + bias`` is ``y = a * x + b`` with
``a = scale / sqrt(var + epsilon)`` and ``b = bias - a * mean``, per channel. For a layer
``x = W * u + c`` before it, ``y = (a * W) * u + (a * c + b)``.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.affine_folding import Vector, fold_affine, refusal
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import (
    add_initializer,
    constant_array,
    float_attribute,
    int_attribute,
    is_op,
    replace_node,
)


class FuseBatchNorm(GraphPass):
    """Removes BatchNormalization.

    1. After a Conv, ConvTranspose or Gemm with constant weights whose output it alone reads:
       folded into weights and bias (computed in float64, stored in the weights' dtype).
    2. Anywhere else: rewritten as Mul and Add by per-channel constants.
    3. In training mode, or with parameters that are not constant, it stays, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "BatchNormalization"):
                continue
            if int_attribute(node, "training_mode", 0):
                self.keep(node, "BatchNormalization in training mode uses batch statistics")
                continue
            parameters = [constant_array(value) for value in node.inputs[1:5]]
            if any(parameter is None for parameter in parameters):
                self.keep(node, "BatchNormalization has parameters that are not constant")
                continue
            scale, bias, mean, var = (
                np.asarray(parameter, np.float64) for parameter in parameters
            )
            factor = scale / np.sqrt(var + float_attribute(node, "epsilon", 1e-5))
            offset = bias - factor * mean
            if refusal(node) is None:
                fold_affine(model.graph, node, factor, offset)
            else:
                _split(model.graph, node, factor, offset)
            modified = True
        return modified


def _split(
    graph: ir.Graph,
    node: ir.Node,
    factor: Vector,
    offset: Vector,
) -> None:
    """Writes ``node`` as Mul and Add."""
    value = node.inputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else 4
    shape = (1, -1, *(1,) * (rank - 2))
    dtype = constant_array(node.inputs[1])
    kind = np.float32 if dtype is None else dtype.dtype
    name = node.name or node.outputs[0].name or "batch_norm"
    scaled = ir.node(
        "Mul",
        [value, add_initializer(graph, f"{name}_scale", factor.reshape(shape).astype(kind))],
        name=f"{name}_mul",
    )
    scaled.outputs[0].name = f"{node.outputs[0].name}_scaled"
    scaled.outputs[0].shape, scaled.outputs[0].type = node.outputs[0].shape, node.outputs[0].type
    graph.insert_before(node, scaled)
    constant = add_initializer(graph, f"{name}_offset", offset.reshape(shape).astype(kind))
    replace_node(graph, node, "Add", [scaled.outputs[0], constant])
