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

type _Shape = tuple[int | ir.SymbolicDim, ...]


@dataclass(frozen=True, slots=True)
class _Statistics:
    """What is under the root: ``mean((value - mean)**2) + epsilon``.

    Attributes:
        value: The normalized value.
        centred: ``value - mean``.
        means: ReduceMean of the value and of the square.
        epsilon: The constant.
    """

    value: ir.Value
    centred: ir.Value
    means: tuple[ir.Node, ir.Node]
    epsilon: float


@dataclass(frozen=True, slots=True)
class _Match:
    """A normalization.

    Attributes:
        value: What is normalized.
        axis: First of the normalized axes, counted from the end.
        epsilon: Added to the variance.
        affine: Scale and bias where they are part of the match; None where they may follow.
    """

    value: ir.Value
    axis: int
    epsilon: float
    affine: tuple[Array | None, Array] | None = None


class FuseLayerNorm(GraphPass):
    """Rewrites the decomposed form as one LayerNormalization.

    1. ``Div(d, Sqrt(Add(ReduceMean(d * d), epsilon)))`` with ``d = Sub(x, ReduceMean(x))``
       over the last axes; the square may be ``Pow(d, 2)`` or ``Mul(d, d)``, the root
       ``Pow(v, 0.5)``, the quotient a product with ``Reciprocal(Sqrt(v))``, ``Div(1, Sqrt(v))``
       or ``Pow(v, -0.5)``.
    2. A following Mul by a constant whose shape is that of the normalized axes becomes the
       scale, and an Add of such a constant the bias; without a Mul the scale is one.
    3. So does ``x * s + (bias - mean * s)`` with ``s = scale / Sqrt(v)``, as Keras writes it.
    4. A normalization over axes that are not the last ones stays, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            match = self._match(node)
            if match is not None:
                _fuse(model.graph, node, match)
                modified = True
        return modified

    def _match(self, node: ir.Node) -> _Match | None:
        if is_op(node, "Add"):
            return _shifted_match(node)
        for centred, positive in _quotients(node):
            found = _statistics(positive)
            if found is None or found.centred is not centred:
                continue
            axis = _axis(found.value, *found.means)
            if axis is None:
                self.keep(node, "the normalization is not over the last axes of its input")
                return None
            return _Match(found.value, axis, found.epsilon)
        return None


def _quotients(node: ir.Node) -> list[tuple[ir.Value | None, ir.Value | None]]:
    """Pairs ``(x, v)`` for which the node may be ``x / sqrt(v)``."""
    if is_op(node, "Div"):
        return [(node.inputs[0], _under_root(node.inputs[1], 0.5, "Sqrt"))]
    if is_op(node, "Mul"):
        return [(left, _under_inverse_root(right)) for left, right in operands(node)]
    return []


def _under_root(value: ir.Value | None, exponent: float, op_type: str) -> ir.Value | None:
    """``v`` where ``value`` is ``v ** exponent``, written as that op or as Pow."""
    node = producer(value, op_type, "Pow")
    if node is None or (is_op(node, "Pow") and constant_scalar(node.inputs[1]) != exponent):
        return None
    return node.inputs[0]


def _under_inverse_root(value: ir.Value | None) -> ir.Value | None:
    """``v`` where ``value`` is ``1 / sqrt(v)``."""
    node = producer(value, "Reciprocal", "Div", "Pow")
    if node is None or is_op(node, "Pow"):
        return _under_root(value, -0.5, "Pow")
    if is_op(node, "Div") and constant_scalar(node.inputs[0]) != 1.0:
        return None
    return _under_root(node.inputs[-1], 0.5, "Sqrt")


def _statistics(positive: ir.Value | None) -> _Statistics | None:
    add = producer(positive, "Add")
    for variance, offset in operands(add) if add is not None else ():
        epsilon, second = constant_scalar(offset), producer(variance, "ReduceMean")
        square = producer(second.inputs[0], "Pow", "Mul") if second is not None else None
        if epsilon is None or second is None or square is None:
            continue
        centred = square.inputs[0]
        sub = producer(centred, "Sub")
        if sub is None or centred is None or not _is_square(second.inputs[0], centred):
            continue
        value, first = sub.inputs[0], producer(sub.inputs[1], "ReduceMean")
        if value is not None and first is not None and first.inputs[0] is value:
            return _Statistics(value, centred, (first, second), epsilon)
    return None


def _shifted_match(node: ir.Node) -> _Match | None:
    """``x * s + (bias - mean * s)`` with ``s = scale / sqrt(v)``."""
    for left, right in operands(node):
        product, shift = producer(left, "Mul"), producer(right, "Sub")
        moved = producer(shift.inputs[1], "Mul") if shift is not None else None
        if product is None or shift is None or moved is None:
            continue
        for value, factor in operands(product):
            found, scale = _scaled_root(factor)
            if found is None or found.value is not value:
                continue
            axis = _axis(found.value, *found.means)
            centre = found.means[0].outputs[0]
            if axis is None or not any(pair == (centre, factor) for pair in operands(moved)):
                continue
            shape = tuple(found.value.shape or ())[axis:]
            bias = _as_shape(constant_array(shift.inputs[0]), shape)
            fitted = None if scale is None else _as_shape(scale, shape)
            if bias is not None and (scale is None) == (fitted is None):
                return _Match(found.value, axis, found.epsilon, (fitted, bias))
    return None


def _scaled_root(factor: ir.Value | None) -> tuple[_Statistics | None, Array | None]:
    """Statistics and scale where ``factor`` is ``scale / sqrt(v)``; the scale may be missing."""
    bare = _statistics(_under_inverse_root(factor))
    if bare is not None:
        return bare, None
    product = producer(factor, "Mul")
    for inverse, scale in operands(product) if product is not None else ():
        found, array = _statistics(_under_inverse_root(inverse)), constant_array(scale)
        if found is not None and array is not None:
            return found, array
    return None, None


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
    last, (scale, bias) = node, match.affine or (None, None)
    if match.affine is None:
        last, scale, bias = _affine_after(node, shape)
    name, dtype = node.name or node.outputs[0].name or "layer_norm", match.value.dtype
    kind = np.float32 if dtype is None else dtype.numpy()
    if scale is None:
        scale = np.ones([dim if isinstance(dim, int) else 1 for dim in shape], kind)
    inputs: list[ir.Value | None] = [match.value, add_initializer(graph, f"{name}_scale", scale)]
    if bias is not None:
        inputs.append(add_initializer(graph, f"{name}_bias", bias))
    attributes: dict[str, int | float | str | list[int]] = {
        "axis": match.axis,
        "epsilon": match.epsilon,
    }
    replace_node(graph, last, "LayerNormalization", inputs, attributes)


def _affine_after(node: ir.Node, shape: _Shape) -> tuple[ir.Node, Array | None, Array | None]:
    """The last node of a normalization, with the scale and bias that follow it."""
    last, scale, bias = node, None, None
    after = only_consumer(node.outputs[0])
    if after is not None and is_op(after, "Mul"):
        scale = _constant_operand(after, last, shape)
        last = after if scale is not None else last
    after = only_consumer(last.outputs[0])
    if after is not None and is_op(after, "Add"):
        bias = _constant_operand(after, last, shape)
        last = after if bias is not None else last
    return last, scale, bias


def _constant_operand(node: ir.Node, before: ir.Node, shape: _Shape) -> Array | None:
    """The constant of ``node`` brought to ``shape``; None when it has another one."""
    for left, right in operands(node):
        array = _as_shape(constant_array(right), shape)
        if left is before.outputs[0] and array is not None:
            return array
    return None


def _as_shape(array: Array | None, shape: _Shape) -> Array | None:
    """An array without leading axes of size 1; None when it has another shape then."""
    if array is None:
        return None
    outer = max(array.ndim - len(shape), 0)
    if array.shape[outer:] != shape or any(size != 1 for size in array.shape[:outer]):
        return None
    return array.reshape(array.shape[outer:])
