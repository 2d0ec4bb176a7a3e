"""Multiplication by one number, moved back into the layer that its operand comes from."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.values import (
    add_initializer,
    can_replace,
    constant_array,
    constant_scalar,
    input_at,
    is_op,
    only_consumer,
    replace_value,
)

_MOVEMENT = ("Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity")
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class FoldScalarFactor(GraphPass):
    """Folds ``factor * x`` into the weights that ``x`` comes from, as in scaled attention.

    1. The factor is one positive float32 constant; a division by one counts as well.
    2. From the operand backwards, through nodes that only move elements and through products
       of two activations (by their first operand), there is a Conv, ConvTranspose, Gemm or
       MatMul with constant weights, maybe with the Add of a constant bias behind a MatMul.
    3. Every value on the way is read by the next node alone.
    4. Otherwise the node stays, silently: most multiplications are of another kind.

    ``softmax(factor * (Q @ K^T))`` loses its multiplication: the factor goes into the weights
    that make ``Q``.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            operand = _scaled_operand(node)
            if operand is None or not can_replace(node.outputs[0], operand[0]):
                continue
            value, factor = operand
            constants = _constants_behind(node, value)
            if constants is None:
                continue
            for layer, index in constants:
                _multiply(model.graph, layer, index, factor)
            replace_value(model.graph, node.outputs[0], value)
            model.graph.remove(node, safe=True)
            modified = True
        return modified


def _scaled_operand(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The operand and the positive factor of a multiplication by one number."""
    if not is_op(node, "Mul", "Div"):
        return None
    for data in (0, 1) if node.op_type == "Mul" else (0,):
        value, other = node.inputs[data], node.inputs[1 - data]
        factor = constant_scalar(other)
        if value is None or other is None or factor is None or constant_array(value) is not None:
            continue
        same = value.shape is not None and value.shape == node.outputs[0].shape
        if factor <= 0 or not same or value.dtype != ir.DataType.FLOAT:
            return None
        factor = factor if node.op_type == "Mul" else 1.0 / factor
        return (value, factor) if np.isfinite(factor) else None
    return None


def _constants_behind(node: ir.Node, value: ir.Value) -> list[tuple[ir.Node, int]] | None:
    """Layer inputs that take the factor up (weights, bias); None where rule 2 or 3 fails."""
    found: list[tuple[ir.Node, int]] = []
    reader = node
    while only_consumer(value) is reader:
        maker = value.producer()
        if maker is None:
            return None
        if is_op(maker, *_MOVEMENT):
            source = maker.inputs[0]
        elif is_op(maker, *_LAYERS) and _float_constant(input_at(maker, 1)):
            bias = input_at(maker, 2)
            if bias is not None and not _float_constant(bias):
                return None
            return [*found, (maker, 1), *([] if bias is None else [(maker, 2)])]
        elif is_op(maker, "MatMul"):
            source = maker.inputs[0]
        elif is_op(maker, "Add") and not found and (index := _bias_index(maker)) is not None:
            found.append((maker, index))
            source = maker.inputs[1 - index]
            if source is None or not is_op(source.producer(), "MatMul"):
                return None
        else:
            return None
        if source is None:
            return None
        value, reader = source, maker
    return None


def _bias_index(add: ir.Node) -> int | None:
    """Which operand of an Add is a constant, when just one is."""
    constant = [_float_constant(value) for value in add.inputs]
    return constant.index(True) if constant.count(True) == 1 else None


def _float_constant(value: ir.Value | None) -> bool:
    array = constant_array(value)
    return array is not None and array.dtype == np.float32


def _multiply(graph: ir.Graph, layer: ir.Node, index: int, factor: float) -> None:
    """Gives a node a constant times the factor; a shared one is copied."""
    old = layer.inputs[index]
    array = constant_array(old)
    if old is None or array is None:
        raise ValueError(f"input {index} of {layer.name!r} is not constant")
    scaled = (array.astype(np.float64) * factor).astype(np.float32)
    own = len(old.uses()) == 1 and not old.is_graph_output() and old.name in graph.initializers
    name = str(old.name)
    if own:
        layer.replace_input_with(index, None)
        graph.initializers.pop(name)
    new = add_initializer(graph, name if own else f"{name}_{layer.name}", scaled)
    layer.replace_input_with(index, new)
