"""Cross-layer equalization: channels of two consecutive layers get equal weight ranges.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight
equalization and bias correction", ICCV 2019, section 4.1. For ``y = W2 f(W1 x + b1)`` with
``f(s x) = s f(x)`` for ``s > 0``, dividing channel ``i`` of ``W1`` and ``b1`` by ``s_i`` and
multiplying input channel ``i`` of ``W2`` by it changes nothing. With
``s_i = sqrt(r1_i r2_i) / r2_i``, where ``r`` is the largest absolute weight of the channel,
both channels get the range ``sqrt(r1_i r2_i)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.stage import Note
from edgekit.graph.values import (
    constant_array,
    input_at,
    int_attribute,
    is_op,
    only_consumer,
    replace_value,
)
from edgekit.quantization.units import clamp_range

type Vector = npt.NDArray[np.float64]

_LAYERS = ("Conv", "Gemm")
_TRANSPARENT = ("AveragePool", "GlobalAveragePool", "LeakyRelu", "MaxPool", "Relu")
"""Ops on each channel alone for which ``f(s x) = s f(x)``."""
_MAX_SWEEPS = 50
_CONVERGED = 1e-3
"""A sweep that changes no factor by more has converged."""
_SMALLEST_RANGE = 1e-9
"""A channel with smaller weights computes nothing and is left alone."""


@dataclass(frozen=True, slots=True)
class EqualizationResult:
    """An equalized graph.

    Attributes:
        model: Computes the same as the graph given, up to float32 rounding.
        pairs: Names of the two layers of each equalized pair.
        notes: Why a pair was left, and what was replaced.
    """

    model: ir.Model
    pairs: tuple[tuple[str, str], ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class _Pair:
    first: ir.Node
    second: ir.Node
    clamps: tuple[ir.Node, ...]


def equalize(model: ir.Model, *, relu6_as_relu: bool = False) -> EqualizationResult:
    """Equalizes every pair of layers that only homogeneous ops on single channels connect.

    Args:
        model: Canonical float graph; not modified.
        relu6_as_relu: Also treat pairs with a Clip to [0, c] between them, which becomes a
            Relu; this changes what the graph computes wherever c was reached.
    """
    working = ir.from_proto(ir.to_proto(model))
    notes: list[Note] = []
    pairs = list(_find_pairs(working.graph, relu6_as_relu, notes))
    for node in dict.fromkeys(node for pair in pairs for node in pair.clamps):
        _replace_by_relu(working.graph, node)
        notes.append(Note(where=node.name or "", text="Clip became Relu for equalization"))
    for _ in range(_MAX_SWEEPS):
        if max((_equalize_pair(pair) for pair in pairs), default=0.0) < _CONVERGED:
            break
    names = tuple((pair.first.name or "", pair.second.name or "") for pair in pairs)
    return EqualizationResult(working, names, tuple(notes))


def channel_ranges(layer: ir.Node, *, inputs: bool) -> Vector:
    """Largest absolute weight of each output channel, or of each input channel.

    Args:
        layer: Conv or Gemm with constant weights.
        inputs: Input channels, which in a grouped Conv are those of all groups in order.
    """
    weights = np.abs(_weights(layer).astype(np.float64))
    outputs_axis = _outputs_axis(layer)
    if not inputs:
        return _largest(weights, outputs_axis)
    if layer.op_type == "Gemm":
        return _largest(weights, 1 - outputs_axis)
    group = int_attribute(layer, "group", 1)
    split = weights.reshape(group, -1, *weights.shape[1:])
    return np.concatenate([_largest(part, 1) for part in split])


def _find_pairs(graph: ir.Graph, relu6_as_relu: bool, notes: list[Note]) -> Iterator[_Pair]:
    for node in graph:
        if not _is_layer(node):
            continue
        clamps: list[ir.Node] = []
        follower = only_consumer(node.outputs[0])
        while follower is not None and not _is_layer(follower):
            bounds = clamp_range(follower)
            if is_op(follower, "Clip") and bounds is not None and bounds[0] == 0.0:
                clamps.append(follower)
            elif not is_op(follower, *_TRANSPARENT):
                follower = None
                break
            follower = only_consumer(follower.outputs[0])
        if follower is None or follower.inputs[0] is None or not _fits(node, follower):
            continue
        if clamps and not relu6_as_relu:
            text = f"Not equalized with {follower.name!r}: a Clip stands between them"
            notes.append(Note(where=node.name or "", text=text))
            continue
        yield _Pair(node, follower, tuple(clamps))


def _is_layer(node: ir.Node) -> bool:
    """Whether a node has weights of its own that may be changed."""
    if not is_op(node, *_LAYERS) or constant_array(input_at(node, 1)) is None:
        return False
    bias = input_at(node, 2)
    constants = [value for value in (node.inputs[1], bias) if value is not None]
    return all(
        constant_array(value) is not None
        and len(value.uses()) == 1
        and not value.is_graph_output()
        for value in constants
    )


def _fits(first: ir.Node, second: ir.Node) -> bool:
    return len(channel_ranges(first, inputs=False)) == len(channel_ranges(second, inputs=True))


def _equalize_pair(pair: _Pair) -> float:
    """Scales one pair; gives the largest change of a factor from 1."""
    first = channel_ranges(pair.first, inputs=False)
    second = channel_ranges(pair.second, inputs=True)
    alive = (first > _SMALLEST_RANGE) & (second > _SMALLEST_RANGE)
    factors = np.ones_like(first)
    factors[alive] = np.sqrt(first[alive] * second[alive]) / second[alive]
    _scale_outputs(pair.first, 1.0 / factors)
    _scale_inputs(pair.second, factors)
    return float(np.max(np.abs(factors - 1.0), initial=0.0))


def _scale_outputs(layer: ir.Node, factors: Vector) -> None:
    weights = _weights(layer).astype(np.float64)
    shape = [1] * weights.ndim
    shape[_outputs_axis(layer)] = -1
    _store(layer.inputs[1], weights * factors.reshape(shape))
    bias = constant_array(input_at(layer, 2))
    if bias is not None:
        _store(layer.inputs[2], bias.astype(np.float64) * factors)


def _scale_inputs(layer: ir.Node, factors: Vector) -> None:
    weights = _weights(layer).astype(np.float64)
    if layer.op_type == "Gemm":
        shape = (1, -1) if _outputs_axis(layer) == 0 else (-1, 1)
        _store(layer.inputs[1], weights * factors.reshape(shape))
        return
    group = int_attribute(layer, "group", 1)
    split = weights.reshape(group, -1, *weights.shape[1:])
    per_group = factors.reshape(group, 1, -1, *(1,) * (weights.ndim - 2))
    _store(layer.inputs[1], (split * per_group).reshape(weights.shape))


def _store(value: ir.Value | None, array: Vector) -> None:
    if value is None or value.const_value is None:
        raise ValueError("the layer has no constant to change")
    value.const_value = ir.tensor(
        array.astype(value.const_value.dtype.numpy()), name=value.name or ""
    )


def _replace_by_relu(graph: ir.Graph, clip: ir.Node) -> None:
    relu = ir.node("Relu", [clip.inputs[0]], name=clip.name)
    relu.outputs[0].name = clip.outputs[0].name
    graph.insert_before(clip, relu)
    replace_value(graph, clip.outputs[0], relu.outputs[0])
    graph.remove(clip, safe=True)


def _outputs_axis(layer: ir.Node) -> int:
    if layer.op_type == "Gemm" and not int_attribute(layer, "transB", 0):
        return 1
    return 0


def _weights(layer: ir.Node) -> npt.NDArray[np.generic]:
    weights = constant_array(layer.inputs[1])
    if weights is None:
        raise ValueError(f"weights of {layer.name!r} are not constant")
    return weights


def _largest(weights: Vector, axis: int) -> Vector:
    others = tuple(index for index in range(weights.ndim) if index != axis)
    largest: Vector = weights.max(axis=others)
    return largest
