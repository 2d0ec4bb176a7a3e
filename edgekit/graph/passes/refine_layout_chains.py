"""Reshape, Transpose, Reshape rewritten so that the first splits axes and the last merges them.

Exporters merge axes to keep the rank low, as in the patches of MobileViT: ``[1, C, H, W]`` to
``[C * h, p, w, q]``. A target that stores axes in another order must then move all elements
to merge ``C`` and ``h``; with every factor an axis of its own it moves them once.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import prod
from operator import mul

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import producer
from edgekit.graph.passes.node_writer import NodeWriter
from edgekit.graph.signature import static_shape
from edgekit.graph.values import ints_attribute, is_op, only_consumer

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
_MAX_RANK = 5
"""Core ML has no tensors of a higher rank."""

type _Dims = tuple[int, ...]


class RefineLayoutChains(GraphPass):
    """Rewrites ``Reshape(Transpose(Reshape(x)))`` with other shapes between.

    1. The first Reshape splits axes of ``x``, the Transpose moves the parts, and the last Reshape
       merges them. What lies between is read by nothing else, and all shapes are static.
    2. A chain that has this form already stays, as does one whose shapes have no common factors
       or more than five of them.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, "Transpose"):
                continue
            first, last = producer(node.inputs[0], *_RESHAPES), only_consumer(node.outputs[0])
            if first is None or last is None or not is_op(last, *_RESHAPES):
                continue
            if only_consumer(first.outputs[0]) is node:
                modified |= _refine(model.graph, first, node, last)
        return modified


def _refine(graph: ir.Graph, first: ir.Node, node: ir.Node, last: ir.Node) -> bool:
    source = first.inputs[0]
    if source is None:
        return False
    shapes = [static_shape(v) for v in (source, first.outputs[0], last.outputs[0])]
    outer, inner, final = shapes
    if outer is None or inner is None or final is None or 0 in (*outer, *inner):
        return False
    order = ints_attribute(node, "perm", tuple(reversed(range(len(inner)))))
    found = refined_factors(outer, inner, order, final)
    if found is None:
        return False
    factors, moved = found
    if factors == [size for size in inner if size != 1] or len(factors) > _MAX_RANK:
        return False
    writer = NodeWriter(graph, last)
    split = writer.add("Reshape", [source, writer.integers(*factors)], "split")
    parts = writer.add("Transpose", [split], "moved", {"perm": moved})
    # The pass may meet these values again before shapes are inferred.
    split.shape, split.type = ir.Shape(factors), source.type
    parts.shape, parts.type = ir.Shape([factors[index] for index in moved]), source.type
    target = writer.constant(np.array(final, np.int64), "shape")
    merged = writer.add("Reshape", [parts, target], "merged")
    writer.finish([merged])
    graph.remove(node, safe=True)
    graph.remove(first, safe=True)
    return True


def refined_factors(
    outer: _Dims, inner: _Dims, order: _Dims, final: _Dims
) -> tuple[list[int], list[int]] | None:
    """Sizes that ``outer`` is split into, and the order in which ``final`` merges them.

    Args:
        outer: Shape before the first Reshape.
        inner: Shape after it.
        order: Permutation of ``inner``.
        final: Shape after the last Reshape.

    Returns:
        The factors larger than 1 and their order; None where the shapes have no common factors.
    """
    cuts = sorted(_cuts(outer) | _cuts(inner))
    factors = _ratios(cuts)
    if factors is None:
        return None
    moved: list[int] = []
    for axis in order:
        begin, end = prod(inner[:axis]), prod(inner[: axis + 1])
        moved += range(cuts.index(begin), cuts.index(end))
    for cut in sorted(_cuts(final)):
        if not _split_at(factors, moved, cut):
            return None
    _join(factors, moved, _cuts(outer), _cuts(final))
    return factors, moved


def _cuts(shape: _Dims) -> set[int]:
    """Products of leading sizes: where an axis ends, counted in elements."""
    return {1, *accumulate(shape, mul)}


def _ratios(cuts: list[int]) -> list[int] | None:
    """Sizes between cuts; None where one does not divide the next."""
    pairs = list(pairwise(cuts))
    return None if any(b % a for a, b in pairs) else [b // a for a, b in pairs]


def _split_at(factors: list[int], moved: list[int], cut: int) -> bool:
    """Splits the factor that ``cut`` of the moved order falls into; False if it cannot."""
    total = 1
    for place, index in enumerate(moved):
        size = factors[index]
        if total == cut:
            return True
        if total * size > cut:
            part = cut // total
            if cut % total or size % part:
                return False
            factors[index : index + 1] = [part, size // part]
            moved[:] = [other + (other > index) for other in moved]
            moved.insert(place + 1, index + 1)
            return True
        total *= size
    return total == cut


def _join(factors: list[int], moved: list[int], outer: set[int], final: set[int]) -> None:
    """Joins neighbours that stay neighbours, where no axis of either shape ends between."""
    index = 0
    while index + 1 < len(factors):
        place = moved.index(index)
        before = prod(factors[: index + 1])
        after = prod(factors[other] for other in moved[: place + 1])
        together = moved[place + 1 : place + 2] == [index + 1]
        if not together or before in outer or after in final:
            index += 1
            continue
        factors[index : index + 2] = [factors[index] * factors[index + 1]]
        moved.pop(place + 1)
        moved[:] = [other - (other > index) for other in moved]
