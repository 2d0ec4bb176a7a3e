"""Pad, with negative amounts too."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    ints_attribute,
    normalized_axis,
    optional_input,
    text_attribute,
)
from edgekit.targets.coreml.lowering.emitter import Emitter, is_open, kind_of, rank_of, shape_of
from edgekit.targets.coreml.lowering.ops.movement import as_numbers, restored
from edgekit.targets.coreml.lowering.registry import Var, lowers

type Pads = list[tuple[int, int]]


@lowers("Pad", accepts="constant pads; all modes, wrap over fixed sizes")
def lower_pad(e: Emitter, node: ir.Node) -> Var:
    """Grows a tensor at its ends, or cuts it where an amount is negative."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    pads = _amounts(e, node, rank_of(x))
    mode = text_attribute(node, "mode", "constant") or "constant"
    x = _cut(e, x, pads)
    grown = [(max(0, before), max(0, after)) for before, after in pads]
    if not any(map(any, grown)):
        return restored(e, x, was_bool)
    if mode == "constant":
        result = e("pad", x=x, pad=_flat(grown), mode="constant", constant_val=_value(e, node, x))
    else:
        result = _gathered(e, x, grown, mode)
    return restored(e, result, was_bool)


def _amounts(e: Emitter, node: ir.Node, rank: int) -> Pads:
    flat = list(ints_attribute(node, "pads")) or e.ints(node, 1, "the padding") or [0] * (2 * rank)
    axes = e.ints(node, 3, "the padded axes")
    chosen = list(range(rank)) if axes is None else [normalized_axis(a, rank) for a in axes]
    pads = [(0, 0)] * rank
    for index, axis in enumerate(chosen):
        pads[axis] = (flat[index], flat[index + len(chosen)])
    return pads


def _flat(pads: Pads) -> list[int]:
    return [amount for pair in pads for amount in pair]


def _value(e: Emitter, node: ir.Node, x: Var) -> Any:
    value: float = float_attribute(node, "value", 0.0)
    if optional_input(node, 2) is not None:
        value = e.required_array(node, 2, "the padding value").reshape(-1)[0].item()
    return np.int32(value) if kind_of(x) == "int" else np.float32(value)


def _cut(e: Emitter, x: Var, pads: Pads) -> Var:
    if all(amount >= 0 for amount in _flat(pads)):
        return x
    begin = [max(0, -before) for before, _ in pads]
    end = [-max(0, -after) for _, after in pads]
    return e(
        "slice_by_index",
        x=x,
        begin=begin,
        end=end,
        begin_mask=[amount == 0 for amount in begin],
        end_mask=[amount == 0 for amount in end],
    )


def _gathered(e: Emitter, x: Var, pads: Pads, mode: str) -> Var:
    """Reads each padded element from where the mode says, one axis after the other.

    MIL's own modes reach the last two axes alone, and not beyond the tensor's size.
    """
    for axis, (before, after) in enumerate(pads):
        if not before and not after:
            continue
        size = shape_of(x)[axis]
        if is_open(size):
            raise Refusal(f"{mode} padding of an open dimension", "fixed sizes")
        places = np.arange(-before, int(size) + after)
        x = e("gather", x=x, indices=_sources(places, int(size), mode), axis=axis)
    return x


def _sources(places: Any, size: int, mode: str) -> Any:
    if mode == "edge":
        found = np.clip(places, 0, size - 1)
    elif mode == "wrap":
        found = places % size
    elif mode == "reflect":
        period = max(1, 2 * (size - 1))
        found = places % period
        found = np.where(found >= size, period - found, found)
    else:
        raise Refusal(f"Pad in mode {mode!r}", "constant, edge, reflect or wrap")
    return found.astype(np.int32)


@lowers("CenterCropPad", accepts="a constant shape, fixed sizes")
def lower_center_crop_pad(e: Emitter, node: ir.Node) -> Var:
    """Cuts or grows around the centre."""
    x, was_bool = as_numbers(e, e.input(node, 0))
    wanted = e.ints(node, 1, "the shape") or []
    axes = [
        normalized_axis(axis, rank_of(x))
        for axis in ints_attribute(node, "axes", tuple(range(rank_of(x))))
    ]
    pads = [(0, 0)] * rank_of(x)
    for axis, size in zip(axes, wanted, strict=True):
        own = shape_of(x)[axis]
        if is_open(own):
            raise Refusal("CenterCropPad of an open dimension", "fixed sizes")
        missing = size - int(own)
        small = abs(missing) // 2
        pads[axis] = (small, missing - small) if missing >= 0 else (-small, missing + small)
    x = _cut(e, x, pads)
    grown = [(max(0, before), max(0, after)) for before, after in pads]
    if any(map(any, grown)):
        zero = np.int32(0) if kind_of(x) == "int" else np.float32(0)
        x = e("pad", x=x, pad=_flat(grown), mode="constant", constant_val=zero)
    return restored(e, x, was_bool)
