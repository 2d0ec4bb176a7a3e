"""Concat and Split."""

from __future__ import annotations

import itertools

import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.integers import Integers, as_ints
from edgekit.graph.torch_twin.registry import Built, twin_op
from edgekit.graph.values import int_attribute


@twin_op("Concat")
def build_concat(context: TwinContext, node: ir.Node) -> Built:
    """One behind the other along an axis."""
    return context.call(torch.cat, context.tensors(node), int_attribute(node, "axis", 0))


@twin_op("Split")
def build_split(context: TwinContext, node: ir.Node) -> Built:
    """Parts of the given sizes; else of equal size, the last one smaller if it must."""
    parts = context.call(
        split, context.tensor(node, 0), context.numbers(node, 1), int_attribute(node, "axis", 0),
        len(node.outputs),
    )  # fmt: skip
    return [context.item(parts, index) for index in range(len(node.outputs))]


def split(x: Tensor, sizes: Integers | None, axis: int, count: int) -> tuple[Tensor, ...]:
    """See `build_split`."""
    if sizes is not None:
        return torch.split(x, as_ints(sizes), dim=axis)
    length = x.shape[axis]
    part = -(-length // count)
    bounds = [min(index * part, length) for index in range(count + 1)]
    equal = [after - before for before, after in itertools.pairwise(bounds)]
    return torch.split(x, equal, dim=axis)
