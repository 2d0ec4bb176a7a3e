"""Writes dequantized weights as arithmetic on constants, which the runtime does when it loads.

ONNX Runtime 1.26 keeps a DequantizeLinear of a constant for its integer kernels to be matched.
Where activations are float none matches: Conv and Gemm then restore their weights at every run,
and a MatMul becomes a kernel that rounds its activations to 8 bits, unless the application sets
session options that no file can carry. A Cast and a Mul of constants are folded at loading under
any options. They compute the same numbers: ``float(q - zero_point) * scale`` in float32.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.quantized import NO_WEIGHTS
from edgekit.graph.values import Array, add_initializer, constant_array, int_attribute


def restore_weights(model: ir.Model) -> tuple[str, ...]:
    """Rewrites every DequantizeLinear of a constant; ``model`` is edited.

    Returns:
        One note that tells how many there were, or that there were none.
    """
    count = 0
    for node in list(model.graph):
        if node.op_type != "DequantizeLinear" or constant_array(node.inputs[0]) is None:
            continue
        _restore(model.graph, node)
        count += 1
    for initializer in list(model.graph.initializers.values()):
        if not initializer.uses() and not initializer.is_graph_output():
            del model.graph.initializers[str(initializer.name)]
    if not count:
        return (NO_WEIGHTS,)
    layers = "1 weight tensor is" if count == 1 else f"{count} weight tensors are"
    note = (
        f"{layers} stored as integers and restored to float32 when the file is loaded; "
        "latency is that of float32, memory no less."
    )
    return (note,)


def _restore(graph: ir.Graph, node: ir.Node) -> None:
    """Puts Cast, Sub, Mul and Reshape in the place of one node."""
    result, integers = node.outputs[0], node.inputs[0]
    stored, scale = constant_array(integers), constant_array(node.inputs[1])
    assert integers is not None
    assert stored is not None
    assert scale is not None
    zero_point = constant_array(node.inputs[2]) if len(node.inputs) > 2 else None
    factors = _Factors(node, stored.shape)
    stem = str(result.name)
    nodes = [_node("Cast", [integers], f"{stem}/cast", to=ir.DataType.FLOAT.value)]

    def apply(op_type: str, constant: Array, name: str) -> None:
        operand = add_initializer(graph, f"{stem}/{name}", constant)
        nodes.append(_node(op_type, [nodes[-1].outputs[0], operand], f"{stem}/by_{name}"))

    if factors.in_blocks:
        apply("Reshape", np.array(factors.blocks, np.int64), "blocks")
    if zero_point is not None and zero_point.astype(np.int32).any():
        apply("Sub", factors.spread(zero_point.astype(np.float32)), "points")
    apply("Mul", factors.spread(scale.astype(np.float32)), "scales")
    if factors.in_blocks:
        apply("Reshape", np.array(stored.shape, np.int64), "shape")
    last = nodes[-1].outputs[0]
    graph.insert_before(node, nodes)
    ir.convenience.replace_all_uses_with(result, last)
    graph.remove(node, safe=True)
    last.name, last.shape, last.type = stem, result.shape, result.type


class _Factors:
    """How the scales of a DequantizeLinear lie beside the integers.

    Attributes:
        blocks: Shape of the integers with the axis of the blocks cut in two.
    """

    def __init__(self, node: ir.Node, shape: tuple[int, ...]) -> None:
        block = int_attribute(node, "block_size", 0)
        axis = int_attribute(node, "axis", 1) % max(len(shape), 1)
        self.in_blocks = block > 0
        self.blocks = (*shape[:axis], -1, block, *shape[axis + 1 :]) if block else shape
        self._axis, self._rank = axis, len(shape)

    def spread(self, numbers: Array) -> Array:
        """Scales or zero points in a shape that broadcasts over ``blocks``."""
        if self.in_blocks:
            return np.expand_dims(numbers, self._axis + 1)
        if numbers.size == 1:
            return numbers.reshape(())
        shape = [1] * self._rank
        shape[self._axis] = -1
        return numbers.reshape(shape)


def _node(op_type: str, inputs: list[ir.Value], name: str, **attributes: int) -> ir.Node:
    made = ir.node(op_type, inputs, attributes, name=name)
    made.outputs[0].name = f"{name}/output"
    return made
