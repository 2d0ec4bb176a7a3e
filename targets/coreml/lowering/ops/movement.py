"""Operators that move, join or repeat elements."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    ints_attribute,
    normalized_axis,
    required_input,
    text_attribute,
)
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    is_open,
    kind_of,
    rank_of,
    shape_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.ops.comparison import chosen
from edgekit.targets.coreml.lowering.registry import Var, lowers


def as_numbers(e: Emitter, x: Var) -> tuple[Var, bool]:
    """Booleans as int32, for operators that take none; and whether they were booleans."""
    if kind_of(x) == "bool":
        return e("cast", x=x, dtype="int32"), True
    return x, False


def restored(e: Emitter, x: Var, was_bool: bool) -> Var:
    """Numbers as the booleans that they were."""
    return e("cast", x=x, dtype="bool") if was_bool else x


@lowers("Transpose", accepts="up to 5 axes")
def lower_transpose(e: Emitter, node: ir.Node) -> Var:
    """Axes in another order, reversed by default."""
    x = e.input(node, 0)
    perm = list(ints_attribute(node, "perm", tuple(reversed(range(rank_of(x))))))
    if perm == sorted(perm):
        return x
    numbers, was_bool = as_numbers(e, x)
    return restored(e, e("transpose", x=numbers, perm=perm), was_bool)


@lowers("Concat", accepts="any number of tensors")
def lower_concat(e: Emitter, node: ir.Node) -> Var:
    """Side by side along an axis; tensors without elements are passed over."""
    values = [e.input(node, index) for index in range(len(node.inputs))]
    axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(values[0]))
    full = [value for value in values if shape_of(value)[axis] != 0] or values[:1]
    if len(full) == 1:
        return full[0]
    pairs = [as_numbers(e, value) for value in full]
    joined = e("concat", values=[pair[0] for pair in pairs], axis=axis)
    return restored(e, joined, pairs[0][1])


@lowers("Expand", accepts="a constant shape, or one computed from sizes")
def lower_expand(e: Emitter, node: ir.Node) -> Var:
    """Repeats along axes of size 1, as broadcasting does."""
    x = e.input(node, 0)
    wanted = e.array(required_input(node, 1))
    numbers, was_bool = as_numbers(e, x)
    if wanted is None:
        one = np.int32(1) if kind_of(numbers) == "int" else np.float32(1)
        ones = e("fill", shape=e.input(node, 1), value=one)
        return restored(e, e("mul", x=numbers, y=ones), was_bool)
    sizes = [int(size) for size in wanted.reshape(-1)]
    given = shape_of(x)
    rank = max(len(sizes), len(given))
    sizes = [1] * (rank - len(sizes)) + sizes
    padded = (1,) * (rank - len(given)) + given
    if rank > len(given):
        numbers = e("expand_dims", x=numbers, axes=list(range(rank - len(given))))
    reps = []
    for own, size in zip(padded, sizes, strict=True):
        if is_open(own) and size != 1:
            raise Refusal("a broadcast of an open dimension", "a size of 1 there")
        reps.append(size if own == 1 else 1)
    if 0 in reps:
        raise Refusal("a tensor without elements", "sizes of at least 1")
    return restored(e, _tiled(e, numbers, reps), was_bool)


@lowers("Tile", accepts="constant repeats")
def lower_tile(e: Emitter, node: ir.Node) -> Var:
    """Repeats the whole tensor along each axis."""
    numbers, was_bool = as_numbers(e, e.input(node, 0))
    reps = e.ints(node, 1, "the repeats") or []
    return restored(e, _tiled(e, numbers, reps), was_bool)


def _tiled(e: Emitter, x: Var, reps: list[int]) -> Var:
    return x if all(count == 1 for count in reps) else e("tile", x=x, reps=reps)


@lowers("DepthToSpace", accepts="both modes")
def lower_depth_to_space(e: Emitter, node: ir.Node) -> Var:
    """Channels to blocks of pixels."""
    x = e.input(node, 0)
    block = int_attribute(node, "blocksize", 1)
    if text_attribute(node, "mode", "DCR") == "CRD" and kind_of(x) == "float":
        return e("pixel_shuffle", x=x, upscale_factor=np.int32(block))
    if text_attribute(node, "mode", "DCR") == "CRD":
        raise Refusal("DepthToSpace of integers in mode CRD", "floats, or mode DCR")
    return e("depth_to_space", x=x, block_size=np.int32(block))


@lowers("SpaceToDepth", accepts="any block size")
def lower_space_to_depth(e: Emitter, node: ir.Node) -> Var:
    """Blocks of pixels to channels."""
    block = int_attribute(node, "blocksize", 1)
    return e("space_to_depth", x=e.input(node, 0), block_size=np.int32(block))


@lowers("ReverseSequence", accepts="constant or computed lengths")
def lower_reverse_sequence(e: Emitter, node: ir.Node) -> Var:
    """Reverses the first elements of each sequence."""
    return e(
        "reverse_sequence",
        x=e.input(node, 0),
        lengths=e.input(node, 1),
        seq_axis=np.int32(int_attribute(node, "time_axis", 0)),
        batch_axis=np.int32(int_attribute(node, "batch_axis", 1)),
    )


@lowers("Trilu", accepts="a constant diagonal, fixed sizes")
def lower_trilu(e: Emitter, node: ir.Node) -> Var:
    """The upper or lower triangle; what is outside becomes 0."""
    x = e.input(node, 0)
    diagonal = e.ints(node, 1, "the diagonal")
    k = diagonal[0] if diagonal else 0
    rows, columns = static_sizes(x, "Trilu's input")[-2:]
    if 0 in shape_of(x):
        raise Refusal("a tensor without elements", "sizes of at least 1")
    upper = bool(int_attribute(node, "upper", 1))
    ones = np.ones((rows, columns), bool)
    kept = np.triu(ones, k) if upper else np.tril(ones, k)
    numbers, was_bool = as_numbers(e, x)
    zero = np.int32(0) if kind_of(numbers) == "int" else np.float32(0)
    shape = (1,) * (rank_of(x) - 2) + kept.shape
    result = chosen(e, e.constant(kept.reshape(shape)), numbers, e.constant(np.asarray(zero)))
    return restored(e, result, was_bool)
