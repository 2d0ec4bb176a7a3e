"""LayerNormalization, re-fused from what exporters decompose it into.

``y = (x - mean) / sqrt(mean((x - mean)**2) + epsilon) * scale + bias`` over the last axes
(Ba, Kiros and Hinton, arXiv:1607.06450).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import operands, producer
from edgekit.graph.values import (
    Array,
    add_initializer,
    constant_array,
    constant_ints,
    constant_scalar,
    input_at,
    int_attribute,
    is_op,
    only_consumer,
    replace_node,
)


@dataclass(frozen=True, slots=True)
class _Match:
    """A normalization without its scale and bias."""

    value: ir.Value
    axis: int
    epsilon: float


class FuseLayerNorm(GraphPass):
    """Rewrites the decomposed form as one LayerNormalization.

    1. ``Div(d, Sqrt(Add(ReduceMean(d * d), epsilon)))`` with ``d = Sub(x, ReduceMean(x))``
       over the last axes; the square may be ``Pow(d, 2)`` or ``Mul(d, d)``.
    2. A following Mul by a constant whose shape is that of the normalized axes becomes the
       scale, and an Add of such a constant the bias; without a Mul the scale is one.
    3. A normalization over axes that are not the last ones stays, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            match = self._match(node) if is_op(node, "Div") else None
            if match is not None:
                _fuse(model.graph, node, match)
                modified = True
        return modified

    def _match(self, node: ir.Node) -> _Match | None:
        centred, root = node.inputs
        sqrt = producer(root, "Sqrt")
        add = producer(sqrt.inputs[0], "Add") if sqrt is not None else None
        sub = producer(centred, "Sub")
        if add is None or sub is None:
            return None
        for variance, offset in operands(add):
            epsilon, mean = constant_scalar(offset), producer(variance, "ReduceMean")
            if epsilon is None or mean is None or not _is_square(mean.inputs[0], centred):
                continue
            value, first = sub.inputs[0], producer(sub.inputs[1], "ReduceMean")
            if value is None or first is None or first.inputs[0] is not value:
                continue
            axis = _axis(value, first, mean)
            if axis is None:
                self.keep(node, "the normalization is not over the last axes of its input")
                return None
            return _Match(value, axis, epsilon)
        return None


def _is_square(value: ir.Value | None, base: ir.Value | None) -> bool:
    power = producer(value, "Pow")
    if power is not None:
        return power.inputs[0] is base and constant_scalar(power.inputs[1]) == 2
    product = producer(value, "Mul")
    return product is not None and product.inputs[0] is base and product.inputs[1] is base


def _axis(value: ir.Value, *means: ir.Node) -> int | None:
    """First of the normalized axes, counted from the end; None when they are not the last."""
    if value.shape is None:
        return None
    rank = len(value.shape)
    found = set()
    for mean in means:
        axes = constant_ints(input_at(mean, 1))
        if not axes or int_attribute(mean, "keepdims", 1) != 1:
            return None
        found.add(tuple(sorted(axis % rank for axis in axes)))
    if len(found) != 1:
        return None
    axes = found.pop()
    return axes[0] - rank if axes == tuple(range(axes[0], rank)) else None


def _fuse(graph: ir.Graph, node: ir.Node, match: _Match) -> None:
    shape = tuple(match.value.shape or ())[match.axis :]
    last, scale = node, None
    after = only_consumer(node.outputs[0])
    if after is not None and is_op(after, "Mul"):
        scale = _constant_operand(after, last, shape)
        last = after if scale is not None else last
    after = only_consumer(last.outputs[0])
    bias = None
    if after is not None and is_op(after, "Add"):
        bias = _constant_operand(after, last, shape)
    name, dtype = node.name or node.outputs[0].name or "layer_norm", match.value.dtype
    kind = np.float32 if dtype is None else dtype.numpy()
    if scale is None:
        scale = np.ones([dim if isinstance(dim, int) else 1 for dim in shape], kind)
    inputs: list[ir.Value | None] = [match.value, add_initializer(graph, f"{name}_scale", scale)]
    if bias is not None and after is not None:
        inputs.append(add_initializer(graph, f"{name}_bias", bias))
        last = after
    attributes: dict[str, int | float | str | list[int]] = {
        "axis": match.axis,
        "epsilon": match.epsilon,
    }
    replace_node(graph, last, "LayerNormalization", inputs, attributes)


def _constant_operand(
    node: ir.Node, before: ir.Node, shape: tuple[int | ir.SymbolicDim, ...]
) -> Array | None:
    """The constant of ``node`` brought to ``shape``; None when it has another one."""
    for left, right in operands(node):
        array = constant_array(right)
        if left is before.outputs[0] and array is not None:
            outer = max(array.ndim - len(shape), 0)
            if array.shape[outer:] == shape and all(size == 1 for size in array.shape[:outer]):
                return array.reshape(array.shape[outer:])
    return None
