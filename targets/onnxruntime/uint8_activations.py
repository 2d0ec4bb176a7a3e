"""Moves int8 activations to uint8, for which ONNX Runtime has fused kernels on x86.

``q + 128`` with zero point ``z + 128`` is the same real value, so nothing else changes.
Weights stay int8: the kernels take uint8 activations with int8 weights.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import add_initializer, constant_array

_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
_WEIGHT_READERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOVED_BY = 128


def shift_activations(model: ir.Model) -> tuple[str, ...]:
    """Rewrites every int8 Q/DQ pair of an activation; ``model`` is edited.

    Constants that are operands like activations (of Add, Mul ...) move with them, since the
    kernels want both operands of one type.

    Returns:
        One note that tells how many nodes were rewritten.
    """
    shifted: dict[str, ir.Value] = {}
    count = 0
    for node in list(model.graph):
        if node.op_type not in _QUANTIZERS or _is_weight(node):
            continue
        zero_point = node.inputs[2] if len(node.inputs) > 2 else None
        array = constant_array(zero_point)
        if zero_point is None or array is None or array.dtype != np.int8 or array.size != 1:
            continue
        name = str(zero_point.name)
        if name not in shifted:
            moved = (array.astype(np.int16) + _MOVED_BY).astype(np.uint8)
            shifted[name] = add_initializer(model.graph, f"{name}_uint8", moved)
        node.replace_input_with(2, shifted[name])
        _shift_integers(model.graph, node)
        count += 1
    for initializer in list(model.graph.initializers.values()):
        if not initializer.uses() and not initializer.is_graph_output():
            del model.graph.initializers[str(initializer.name)]
    return (f"{count} Q/DQ nodes of activations moved from int8 to uint8, values unchanged",)


def _shift_integers(graph: ir.Graph, node: ir.Node) -> None:
    """Gives the integers of a Q/DQ node the type uint8."""
    if node.op_type == "QuantizeLinear":
        node.outputs[0].type = ir.TensorType(ir.DataType.UINT8)
        return
    integers = node.inputs[0]
    array = constant_array(integers)
    if integers is None or array is None or array.dtype != np.int8:
        return
    moved = (array.astype(np.int16) + _MOVED_BY).astype(np.uint8)
    node.replace_input_with(0, add_initializer(graph, f"{integers.name}_uint8", moved))


def _is_weight(node: ir.Node) -> bool:
    """Whether a node dequantizes weights or a bias of a layer."""
    integers = node.inputs[0]
    if node.op_type != "DequantizeLinear" or integers is None:
        return False
    array = constant_array(integers)
    if array is None:
        return False
    if array.dtype != np.int8:
        return True
    uses = node.outputs[0].uses()
    return any(use.node.op_type in _WEIGHT_READERS and use.idx > 0 for use in uses)
