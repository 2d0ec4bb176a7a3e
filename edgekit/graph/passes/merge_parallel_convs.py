"""Sums of convolutions of one input, merged into a single convolution.

Convolution is linear in its weights, so ``conv(x, W1) + conv(x, W2) = conv(x, W1 + W2)`` for
kernels aligned at the same pixel; a per-channel factor, or ``x`` itself, is a 1x1 kernel.
Networks trained with parallel branches (RepVGG, arXiv:2101.03697; MobileOne,
arXiv:2206.04040) reach their inference form this way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.affine_folding import Vector
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.matching import operands
from edgekit.graph.values import (
    Array,
    add_initializer,
    constant_array,
    input_at,
    int_attribute,
    ints_attribute,
    is_op,
    only_consumer,
    remove_unread,
    replace_node,
    replace_value,
    string_attribute,
)


@dataclass(slots=True)
class _Terms:
    """What a sum adds of one value: convolutions, and per-channel factors of the value."""

    convs: list[ir.Node] = field(default_factory=list)
    factors: list[tuple[ir.Value, Array | None, Array | None]] = field(default_factory=list)
    """Summand, factor and offset per channel; None for one and zero."""

    @property
    def count(self) -> int:
        return len(self.convs) + len(self.factors)


class MergeParallelConvs(GraphPass):
    """Merges the summands of a tree of Add nodes that read the same value.

    1. Two or more Conv with constant weights, equal strides and groups, no dilation, kernels
       aligned at the same pixel, whose outputs only the sum reads, become one Conv.
    2. With stride 1 and as many outputs as inputs, ``x`` itself and ``x`` times a
       per-channel constant (what is left of a lone BatchNorm) are merged too.
    3. Summands of other values stay and are added to the merged convolution.
    4. Convolutions that cannot be aligned stay, with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        # Backwards, so that the last Add of a tree is met before those inside it.
        for node in reversed(tuple(model.graph)):
            if node.graph is None or not is_op(node, "Add") or _inside_tree(node):
                continue
            for source, terms in _terms_by_source(_summands(node)).items():
                if terms.count >= 2 and terms.convs:
                    modified |= self._merge(model.graph, node, source, terms)
                    break
        return modified

    def _merge(self, graph: ir.Graph, root: ir.Node, source: ir.Value, terms: _Terms) -> bool:
        base = max(terms.convs, key=lambda conv: _kernel_size(conv))
        reason = _mismatch(base, terms)
        if reason is not None:
            self.keep(root, f"parallel convolutions are not merged: {reason}")
            return False
        weights, bias = _sum_of(base, terms)
        name = base.name or root.name or "merged"
        merged = ir.node(
            "Conv",
            [
                source,
                add_initializer(graph, f"{name}_merged_weight", weights),
                add_initializer(graph, f"{name}_merged_bias", bias),
            ],
            attributes=dict(base.attributes),
            name=f"{name}_merged",
        )
        output = merged.outputs[0]
        output.name = f"{base.outputs[0].name}_merged"
        output.shape, output.type = base.outputs[0].shape, base.outputs[0].type
        graph.insert_before(root, merged)
        gone = {conv.outputs[0] for conv in terms.convs} | {item[0] for item in terms.factors}
        summands = _summands(root)
        rest = [value for value in summands if value not in gone]
        leaves = list(root.inputs)
        if not rest:
            replace_value(graph, root.outputs[0], output)
            graph.remove(root, safe=True)
            remove_unread(graph, leaves)
            return True
        for value in rest[:-1]:
            partial = ir.node("Add", [output, value], name=f"{value.name}_added")
            partial.outputs[0].name = f"{value.name}_sum"
            partial.outputs[0].shape, partial.outputs[0].type = output.shape, output.type
            graph.insert_before(root, partial)
            output = partial.outputs[0]
        replace_node(graph, root, "Add", [output, rest[-1]])
        return True


def _inside_tree(node: ir.Node) -> bool:
    reader = only_consumer(node.outputs[0])
    return reader is not None and is_op(reader, "Add") and not _has_constant(reader)


def _has_constant(node: ir.Node) -> bool:
    return any(constant_array(value) is not None for value in node.inputs)


def _summands(root: ir.Node) -> list[ir.Value]:
    """Leaves of the tree of Add nodes that ends in ``root``, in order."""
    leaves: list[ir.Value] = []
    for value in root.inputs:
        if value is None:
            continue
        node = value.producer()
        inner = node is not None and is_op(node, "Add") and not _has_constant(node)
        if inner and node is not None and only_consumer(value) is not None:
            leaves += _summands(node)
        else:
            leaves.append(value)
    return leaves


def _terms_by_source(summands: list[ir.Value]) -> dict[ir.Value, _Terms]:
    found: dict[ir.Value, _Terms] = {}
    for value in summands:
        node = value.producer()
        private = only_consumer(value) is not None
        if node is not None and is_op(node, "Conv") and private and _is_constant(node):
            source = node.inputs[0]
            if source is not None:
                found.setdefault(source, _Terms()).convs.append(node)
            continue
        scaled = _scaled(value) if private else None
        source, factor, offset = scaled if scaled is not None else (value, None, None)
        found.setdefault(source, _Terms()).factors.append((value, factor, offset))
    return found


def _is_constant(conv: ir.Node) -> bool:
    weights, bias = constant_array(conv.inputs[1]), input_at(conv, 2)
    return weights is not None and (bias is None or constant_array(bias) is not None)


def _scaled(value: ir.Value) -> tuple[ir.Value, Array | None, Array | None] | None:
    """``x``, factor and offset where ``value`` is ``x * factor + offset`` by constants."""
    offset = None
    node = value.producer()
    if node is not None and is_op(node, "Add"):
        for left, right in operands(node):
            offset = constant_array(right)
            if offset is not None and left is not None and only_consumer(left) is node:
                value, node = left, left.producer()
                break
        else:
            return None
    if node is None or not is_op(node, "Mul"):
        return None
    for left, right in operands(node):
        factor = constant_array(right)
        if factor is not None and left is not None:
            return left, factor, offset
    return None


def _kernel_size(conv: ir.Node) -> int:
    weights = constant_array(conv.inputs[1])
    return 0 if weights is None else int(np.prod(weights.shape[2:]))


def _geometry(conv: ir.Node) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Kernel sizes, pads (begins, then ends) and strides."""
    weights = constant_array(conv.inputs[1])
    kernel = () if weights is None else weights.shape[2:]
    rank = len(kernel)
    pads = ints_attribute(conv, "pads", (0,) * 2 * rank)
    return kernel, pads, ints_attribute(conv, "strides", (1,) * rank)


def _mismatch(base: ir.Node, terms: _Terms) -> str | None:
    """Why the terms cannot be one convolution; None when they can."""
    kernel, pads, strides = _geometry(base)
    weights = constant_array(base.inputs[1])
    group = int_attribute(base, "group", 1)
    rank = len(kernel)
    if weights is None:
        return "the weights are not constant"
    for conv in terms.convs:
        other, other_pads, other_strides = _geometry(conv)
        if other_strides != strides or int_attribute(conv, "group", 1) != group:
            return "strides or groups differ"
        if any(step != 1 for step in ints_attribute(conv, "dilations")):
            return "a convolution is dilated"
        if string_attribute(conv, "auto_pad", "NOTSET") != "NOTSET":
            return "padding is automatic"
        before = [pads[axis] - other_pads[axis] for axis in range(rank)]
        after = [pads[rank + axis] - other_pads[rank + axis] for axis in range(rank)]
        spare = [kernel[axis] - other[axis] for axis in range(rank)]
        if any(
            low < 0 or high < 0 or low + high != room
            for low, high, room in zip(before, after, spare, strict=True)
        ):
            return "the kernels are not aligned at the same pixel"
    if not terms.factors:
        return None
    channels = weights.shape[0]
    if any(step != 1 for step in strides) or weights.shape[1] * group != channels:
        return "the shortcut has another shape than the convolution"
    centred = all(2 * pads[axis] + 1 == kernel[axis] for axis in range(rank))
    if not centred or pads[:rank] != pads[rank:]:
        return "the kernel has no centre for the shortcut"
    for _, *constants in terms.factors:
        if any(item is not None and not _per_channel(item, channels, rank) for item in constants):
            return "the shortcut's constant is not per channel"
    return None


def _per_channel(array: Array, channels: int, rank: int) -> bool:
    shape = (1,) * (2 + rank - array.ndim) + array.shape
    return len(shape) == 2 + rank and shape[1] in (1, channels) and array.size == shape[1]


def _sum_of(base: ir.Node, terms: _Terms) -> tuple[Array, Array]:
    """Weights and bias of the merged convolution, in the dtype of ``base``'s weights."""
    kernel, pads, _ = _geometry(base)
    first = constant_array(base.inputs[1])
    if first is None:
        raise ValueError(f"weights of {base.name!r} are not constant")
    rank, channels, per_group = len(kernel), first.shape[0], first.shape[1]
    weights = np.zeros(first.shape, np.float64)
    bias = np.zeros(channels, np.float64)
    for conv in terms.convs:
        array, old_bias = constant_array(conv.inputs[1]), constant_array(input_at(conv, 2))
        _, other_pads, _ = _geometry(conv)
        if array is None:
            continue
        place: tuple[slice, ...] = tuple(
            slice(pads[axis] - other_pads[axis], pads[axis] - other_pads[axis] + size)
            for axis, size in enumerate(array.shape[2:])
        )
        weights[(slice(None), slice(None), *place)] += array.astype(np.float64)
        bias += 0.0 if old_bias is None else old_bias.astype(np.float64)
    outputs = np.arange(channels)
    flat = weights.reshape(channels, per_group, -1)
    middle = np.ravel_multi_index(pads[:rank], kernel)
    for _, factor, offset in terms.factors:
        # Output channel o reads input channel o, the (o mod per_group)-th of its group.
        flat[outputs, outputs % per_group, middle] += _vector(factor, 1.0, channels)
        bias += _vector(offset, 0.0, channels)
    return weights.astype(first.dtype), bias.astype(first.dtype)


def _vector(array: Array | None, default: float, channels: int) -> Vector:
    values = np.full(1, default) if array is None else array.astype(np.float64).reshape(-1)
    return np.broadcast_to(values, (channels,))
