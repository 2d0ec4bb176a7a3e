"""Operators on shapes: reshaping, transposing, repeating, and tensors made from shapes."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.dtypes import TORCH_TYPES
from edgekit.graph.torch_twin.integers import Integers, as_ints, positive_axes
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import int_attribute, ints_attribute


@twin_op("Reshape")
def build_reshape(context: TwinContext, node: ir.Node) -> Built:
    """Zeros copy the input's size, unless ``allowzero``; one size may be -1."""
    return context.call(
        reshape, context.tensor(node, 0), context.numbers(node, 1),
        bool(int_attribute(node, "allowzero", 0)),
    )  # fmt: skip


def reshape(x: Tensor, shape: Integers, allow_zero: bool) -> Tensor:
    """See `build_reshape`."""
    sizes = as_ints(shape)
    if not allow_zero:
        sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    if -1 in sizes and x.numel() == 0:
        # torch cannot tell the size of an axis of nothing.
        others = math.prod(size for size in sizes if size != -1)
        sizes = [0 if size == -1 and not others else size for size in sizes]
    return x.reshape(sizes)


@twin_op("Flatten")
def build_flatten(context: TwinContext, node: ir.Node) -> Built:
    """To a matrix: axes before ``axis``, and the others."""
    return context.call(flatten, context.tensor(node, 0), int_attribute(node, "axis", 1))


def flatten(x: Tensor, axis: int) -> Tensor:
    """See `build_flatten`."""
    axis = axis + x.ndim if axis < 0 else axis
    rows = math.prod(x.shape[:axis])
    return x.reshape(rows, math.prod(x.shape[axis:]))


@twin_op("Squeeze")
def build_squeeze(context: TwinContext, node: ir.Node) -> Built:
    """Without the named axes of size 1; without all of them where none is named."""
    return context.call(squeeze, context.tensor(node, 0), context.numbers(node, 1))


def squeeze(x: Tensor, axes: Integers | None) -> Tensor:
    """See `build_squeeze`."""
    return x.squeeze() if axes is None else x.squeeze(positive_axes(axes, x.ndim))


@twin_op("Unsqueeze")
def build_unsqueeze(context: TwinContext, node: ir.Node) -> Built:
    """New axes of size 1 at places counted in the result."""
    return context.call(unsqueeze, context.tensor(node, 0), context.numbers(node, 1))


def unsqueeze(x: Tensor, axes: Integers) -> Tensor:
    """See `build_unsqueeze`."""
    rank = x.ndim + len(as_ints(axes))
    for axis in sorted(positive_axes(axes, rank)):
        x = x.unsqueeze(axis)
    return x


@twin_op("Transpose")
def build_transpose(context: TwinContext, node: ir.Node) -> Built:
    """Axes in another order; reversed where none is given."""
    order = ints_attribute(node, "perm") or tuple(reversed(range(context.rank(node))))
    return context.call(torch.permute, context.tensor(node, 0), order)


@twin_op("Expand")
def build_expand(context: TwinContext, node: ir.Node) -> Built:
    """Broadcast with a shape, both ways."""
    return context.call(expand, context.tensor(node, 0), context.numbers(node, 1))


def expand(x: Tensor, shape: Integers) -> Tensor:
    """See `build_expand`."""
    sizes = as_ints(shape)
    lead = [1] * (len(sizes) - x.ndim)
    own = [*lead, *x.shape]
    wanted = [*([1] * (len(own) - len(sizes))), *sizes]
    return x.expand([max(pair) if 0 not in pair else 0 for pair in zip(own, wanted, strict=True)])


@twin_op("Tile")
def build_tile(context: TwinContext, node: ir.Node) -> Built:
    """Repeated along each axis."""
    return context.call(tile, context.tensor(node, 0), context.numbers(node, 1))


def tile(x: Tensor, repeats: Integers) -> Tensor:
    """See `build_tile`."""
    return x.repeat(as_ints(repeats))


@twin_op("Shape")
def build_shape(context: TwinContext, node: ir.Node) -> Built:
    """Sizes as ``int64``, or some of them."""
    end = node.attributes.get("end")
    return context.call(
        shape_of, context.tensor(node, 0), int_attribute(node, "start", 0),
        None if end is None else end.as_int(),
    )  # fmt: skip


def shape_of(x: Tensor, start: int, end: int | None) -> Tensor:
    """See `build_shape`."""
    return torch.tensor(list(x.shape)[start:end], dtype=torch.int64, device=x.device)


@twin_op("Size")
def build_size(context: TwinContext, node: ir.Node) -> Built:
    """Number of elements as ``int64``."""
    return context.call(size_of, context.tensor(node, 0))


def size_of(x: Tensor) -> Tensor:
    """See `build_size`."""
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


@twin_op("ConstantOfShape")
def build_constant_of_shape(context: TwinContext, node: ir.Node) -> Built:
    """One value in a shape that may be computed."""
    attribute = node.attributes.get("value")
    fill = np.zeros(1, np.float32) if attribute is None else attribute.as_tensor().numpy()
    dtype = node.outputs[0].dtype
    if dtype not in TORCH_TYPES:
        raise Refusal(f"a tensor of {dtype}", ", ".join(map(str, TORCH_TYPES)))
    # The input is a tensor, which also tells the device.
    return context.call(
        constant_of_shape, context.tensor(node, 0), fill.reshape(-1)[0].item(), TORCH_TYPES[dtype]
    )


def constant_of_shape(shape: Tensor, fill: float, dtype: torch.dtype) -> Tensor:
    """See `build_constant_of_shape`."""
    return torch.full(as_ints(shape), fill, dtype=dtype, device=shape.device)


@twin_op("Range")
def build_range(context: TwinContext, node: ir.Node) -> Built:
    """``start``, ``start + delta`` and so on, below ``limit``."""
    return context.call(range_of, *context.tensors(node))


def range_of(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """See `build_range`."""
    count = max(0, math.ceil((limit.item() - start.item()) / delta.item()))
    return start + delta * torch.arange(count, device=start.device).to(start.dtype)


@twin_op("EyeLike")
def build_eye_like(context: TwinContext, node: ir.Node) -> Built:
    """Ones on a diagonal."""
    dtype = node.outputs[0].dtype
    if dtype not in TORCH_TYPES:
        raise Refusal(f"a tensor of {dtype}", ", ".join(map(str, TORCH_TYPES)))
    return context.call(
        eye_like, context.tensor(node, 0), int_attribute(node, "k", 0), TORCH_TYPES[dtype]
    )


def eye_like(x: Tensor, diagonal: int, dtype: torch.dtype) -> Tensor:
    """See `build_eye_like`."""
    rows = torch.arange(x.shape[0], device=x.device)[:, None]
    columns = torch.arange(x.shape[1], device=x.device)[None, :]
    return (columns - rows == diagonal).to(dtype)


@twin_op("Trilu")
def build_trilu(context: TwinContext, node: ir.Node) -> Built:
    """The upper or the lower triangle; zero elsewhere."""
    return context.call(
        trilu, context.tensor(node, 0), context.numbers(node, 1),
        bool(int_attribute(node, "upper", 1)),
    )  # fmt: skip


def trilu(x: Tensor, diagonal: Integers | None, upper: bool) -> Tensor:
    """See `build_trilu`."""
    k = 0 if diagonal is None else as_ints(diagonal)[0]
    return torch.triu(x, k) if upper else torch.tril(x, k)


@twin_op("OneHot")
def build_one_hot(context: TwinContext, node: ir.Node) -> Built:
    """A new axis of ``depth``, on at the index and off elsewhere."""
    return context.call(
        one_hot, context.tensor(node, 0), context.numbers(node, 1), context.tensor(node, 2),
        int_attribute(node, "axis", -1),
    )  # fmt: skip


def one_hot(indices: Tensor, depth: Integers, values: Tensor, axis: int) -> Tensor:
    """See `build_one_hot`; indices outside give off everywhere, negative ones count back."""
    size = as_ints(depth)[0]
    axis = axis + indices.ndim + 1 if axis < 0 else axis
    whole = indices.to(torch.int64)
    whole = torch.where((whole < 0) & (whole >= -size), whole + size, whole).unsqueeze(axis)
    classes = torch.arange(size, device=indices.device)
    shape = [1] * whole.ndim
    shape[axis] = size
    return torch.where(whole == classes.reshape(shape), values[1], values[0])
