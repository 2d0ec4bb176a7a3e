"""Changes of shape that move no element."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, normalized_axis, required_input
from edgekit.targets.coreml.lowering.emitter import Emitter, is_open, kind_of, rank_of, shape_of
from edgekit.targets.coreml.lowering.registry import Var, lowers


def reshaped(e: Emitter, x: Var, shape: Any) -> Var:
    """A reshape of any kind of element; MIL's takes no booleans before iOS17."""
    if kind_of(x) == "bool" and not e.options.at_least("iOS17"):
        whole = e("reshape", x=e("cast", x=x, dtype="int32"), shape=shape)
        return e("cast", x=whole, dtype="bool")
    return e("reshape", x=x, shape=shape)


@lowers("Reshape", accepts="constant shapes, and shapes computed while the model runs")
def lower_reshape(e: Emitter, node: ir.Node) -> Var:
    """A new shape; 0 keeps a size unless ``allowzero``, one -1 takes what is left."""
    x = e.input(node, 0)
    wanted = e.array(required_input(node, 1))
    if wanted is None:
        return reshaped(e, x, e.input(node, 1))
    sizes = [int(size) for size in wanted.reshape(-1)]
    if not sizes:
        return e("squeeze", x=x) if rank_of(x) else x
    if int_attribute(node, "allowzero", 0) and 0 in sizes:
        raise Refusal("a tensor without elements", "sizes of at least 1")
    return reshaped(e, x, _resolved(e, x, sizes))


def _resolved(e: Emitter, x: Var, sizes: list[int]) -> Any:
    """Sizes without zeros: numbers, one -1, or a shape computed while the model runs."""
    given = shape_of(x)
    if 0 in given:
        raise Refusal("a tensor without elements", "sizes of at least 1")
    found: list[Any] = [given[index] if size == 0 else size for index, size in enumerate(sizes)]
    unknown = [index for index, size in enumerate(found) if is_open(size)]
    if not unknown:
        if all(not is_open(size) for size in given) and -1 in found:
            rest = math.prod(int(size) for size in given)
            known = math.prod(int(size) for size in found if size != -1)
            found[found.index(-1)] = rest // known
        return [int(size) for size in found]
    if len(unknown) == 1 and -1 not in found:
        found[unknown[0]] = -1
        return [int(size) for size in found]
    shape = e("shape", x=x)
    parts = [
        e("slice_by_index", x=shape, begin=[index], end=[index + 1])
        if index in unknown
        else np.array([int(size)], np.int32)
        for index, size in enumerate(found)
    ]
    return e("concat", values=parts, axis=0)


@lowers("Flatten", accepts="one open dimension, or fixed sizes on one side")
def lower_flatten(e: Emitter, node: ir.Node) -> Var:
    """Two axes: those before the given one, and the rest."""
    x = e.input(node, 0)
    rank = rank_of(x)
    axis = int_attribute(node, "axis", 1)
    axis = axis + rank if axis < 0 else axis
    sizes = shape_of(x)
    left, right = sizes[:axis], sizes[axis:]
    if any(map(is_open, left)) and any(map(is_open, right)):
        raise Refusal("open dimensions on both sides of the axis", "fixed sizes on one side")
    shape = [
        -1 if any(map(is_open, part)) else math.prod(int(size) for size in part)
        for part in (left, right)
    ]
    return reshaped(e, x, shape)


@lowers("Squeeze", accepts="constant axes")
def lower_squeeze(e: Emitter, node: ir.Node) -> Var:
    """Takes axes of size 1 off."""
    x = e.input(node, 0)
    axes = _axes(e, node)
    if axes is None:
        sizes = shape_of(x)
        if any(map(is_open, sizes)):
            raise Refusal("Squeeze of open dimensions without axes", "axes")
        axes = [index for index, size in enumerate(sizes) if size == 1]
    axes = sorted(normalized_axis(axis, rank_of(x)) for axis in axes)
    if not axes:
        return x
    return _with_booleans(e, "squeeze", x, axes)


@lowers("Unsqueeze", accepts="constant axes")
def lower_unsqueeze(e: Emitter, node: ir.Node) -> Var:
    """Puts axes of size 1 in."""
    x = e.input(node, 0)
    axes = _axes(e, node) or []
    rank = rank_of(x) + len(axes)
    if rank > 5:
        raise Refusal(f"a tensor of rank {rank}", "at most 5 axes")
    axes = sorted(normalized_axis(axis, rank) for axis in axes)
    return _with_booleans(e, "expand_dims", x, axes) if axes else x


def _axes(e: Emitter, node: ir.Node) -> list[int] | None:
    if "axes" in node.attributes:
        return [int(axis) for axis in node.attributes["axes"].as_ints()]
    return e.ints(node, 1, "the axes")


def _with_booleans(e: Emitter, op: str, x: Var, axes: list[int]) -> Var:
    if kind_of(x) != "bool" or e.options.at_least("iOS17"):
        return e(op, x=x, axes=axes)
    return e("cast", x=e(op, x=e("cast", x=x, dtype="int32"), axes=axes), dtype="bool")
