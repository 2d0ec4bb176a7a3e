"""Tensors made of sizes and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, optional_input, required_input
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    dtype_name,
    is_open,
    kind_of,
    rank_of,
    shape_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.ops.comparison import chosen
from edgekit.targets.coreml.lowering.registry import Var, lowers


@lowers("Shape", accepts="tensors")
def lower_shape(e: Emitter, node: ir.Node) -> Var:
    """Sizes from ``start`` to ``end``."""
    x = e.input(node, 0)
    rank = rank_of(x)
    end = int_attribute(node, "end", rank) if "end" in node.attributes else rank
    chosen = range(rank)[slice(int_attribute(node, "start", 0), end)]
    if not chosen:
        raise Refusal("a shape without sizes", "at least one size")
    sizes = shape_of(x)[chosen.start : chosen.stop]
    if not any(map(is_open, sizes)):
        return e.constant(np.array([int(size) for size in sizes], np.int32))
    shape = e("shape", x=x)
    if len(chosen) == rank:
        return shape
    return e("slice_by_index", x=shape, begin=[chosen.start], end=[chosen.stop])


@lowers("Size", accepts="tensors")
def lower_size(e: Emitter, node: ir.Node) -> Var:
    """Number of elements."""
    x = e.input(node, 0)
    sizes = shape_of(x)
    if not any(map(is_open, sizes)):
        return e.constant(np.array(math.prod(int(size) for size in sizes), np.int32))
    return e("reduce_prod", x=e("shape", x=x), axes=[0], keep_dims=False)


@lowers("Constant", accepts="tensors and numbers")
def lower_constant(e: Emitter, node: ir.Node) -> Var:
    """A constant."""
    tensor = ir.convenience.get_const_tensor(node.outputs[0])
    if tensor is None:
        raise Refusal("a constant that is no tensor of numbers", "tensors")
    return e.constant(np.asarray(tensor.numpy()))


@lowers("ConstantOfShape", accepts="constant shapes, and shapes computed while the model runs")
def lower_constant_of_shape(e: Emitter, node: ir.Node) -> Var:
    """A tensor of one number."""
    attribute = node.attributes.get("value")
    fill: Any = np.float32(0)
    if attribute is not None:
        fill = attribute.as_tensor().numpy().reshape(-1)[0]
    wanted = e.array(required_input(node, 0))
    if wanted is not None:
        return e.constant(np.full([int(size) for size in wanted.reshape(-1)], fill))
    shape = e.input(node, 0)
    if np.issubdtype(np.asarray(fill).dtype, np.bool_):
        return e("cast", x=e("fill", shape=shape, value=np.int32(fill)), dtype="bool")
    number = (
        np.int32(fill) if np.issubdtype(np.asarray(fill).dtype, np.integer) else np.float32(fill)
    )
    return e("fill", shape=shape, value=number)


@lowers("Range", accepts="floats and 32-bit integers")
def lower_range(e: Emitter, node: ir.Node) -> Var:
    """Numbers at equal distances."""
    known = [e.array(required_input(node, index)) for index in range(3)]
    if all(array is not None for array in known):
        start, limit, delta = (np.asarray(array).reshape(-1)[0] for array in known)
        count = max(0, math.ceil((limit - start) / delta))
        return e.constant(np.asarray(start + np.arange(count) * delta, start.dtype))
    operands = []
    for index in range(3):
        item = e.input(node, index)
        operands.append(e("squeeze", x=item) if rank_of(item) else item)
    return e("range_1d", start=operands[0], end=operands[1], step=operands[2])


@lowers("EyeLike", accepts="fixed sizes")
def lower_eye_like(e: Emitter, node: ir.Node) -> Var:
    """Ones on a diagonal."""
    rows, columns = static_sizes(e.input(node, 0), "EyeLike's input")
    whole = kind_of_value(node.outputs[0])
    eye = np.eye(rows, columns, int_attribute(node, "k", 0))
    return e.constant(eye.astype(whole))


def kind_of_value(value: ir.Value) -> type[Any]:
    """NumPy type that stands for a value's element type in a program."""
    name = dtype_name(value)
    if name == "bool":
        return np.bool_
    return np.int32 if "int" in name else np.float32


@lowers("OneHot", accepts="a constant depth, constant values")
def lower_one_hot(e: Emitter, node: ir.Node) -> Var:
    """One value at the index, another elsewhere; negative indices count from the end."""
    indices = e.input(node, 0)
    if kind_of(indices) == "float":
        indices = e("cast", x=indices, dtype="int32")
    depth = int(e.required_array(node, 1, "the depth").reshape(-1)[0])
    off, on = e.required_array(node, 2, "the values").reshape(-1)
    low = e("cast", x=e("less", x=indices, y=np.int32(0)), dtype="int32")
    moved = e("add", x=indices, y=e("mul", x=low, y=np.int32(depth)))
    axis = int_attribute(node, "axis", -1)
    places = np.arange(depth, dtype=np.int32)
    rank = rank_of(indices) + 1
    if rank > 5:
        raise Refusal(f"a tensor of rank {rank}", "at most 5 axes")
    axis = axis + rank if axis < 0 else axis
    shape = [1] * rank
    shape[axis] = depth
    # An index outside of the depth gives a row of the other value, which MIL leaves undefined.
    hit = e("equal", x=e("expand_dims", x=moved, axes=[axis]), y=places.reshape(shape))
    kind = np.int32 if np.issubdtype(np.asarray(on).dtype, np.integer) else np.float32
    return chosen(e, hit, e.constant(np.array(on, kind)), e.constant(np.array(off, kind)))


@lowers("NonZero", accepts="numbers and booleans")
def lower_non_zero(e: Emitter, node: ir.Node) -> Var:
    """Indices of elements other than 0, one row an axis."""
    x = e.input(node, 0)
    if kind_of(x) == "bool":
        x = e("cast", x=x, dtype="int32")
    return e("transpose", x=e("non_zero", x=x), perm=[1, 0])


@lowers("Dropout", accepts="the inference form")
def lower_dropout(e: Emitter, node: ir.Node) -> list[Var | None]:
    """The input itself, and a mask of true where it is read."""
    if optional_input(node, 2) is not None:
        training = e.array(optional_input(node, 2))
        ratio = e.array(optional_input(node, 1))
        trains = training is None or bool(np.asarray(training).reshape(-1)[0])
        if trains and (ratio is None or float(ratio.reshape(-1)[0]) != 0.0):
            raise Refusal("dropout in training mode", "the inference form")
    x = e.input(node, 0)
    if len(node.outputs) == 1:
        return [x]
    return [x, e.constant(np.ones(static_sizes(x, "Dropout's mask"), bool))]


@lowers("RandomUniform", "RandomNormal", "Bernoulli", "Multinomial", accepts="nothing")
def refuse_random(e: Emitter, node: ir.Node) -> Var:
    """Random numbers cannot be compared with a reference."""
    convert_refusal = f"{node.op_type}: random numbers make a result that cannot be checked"
    raise Refusal(convert_refusal, "noise as an input of the model")
