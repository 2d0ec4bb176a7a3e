"""Pools."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    is_open,
    kind_of,
    rank_of,
    shape_of,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers
from edgekit.targets.coreml.lowering.spatial import Window, explicit_pads, read_window

_MOST_SHIFTS = 128
type Pads = list[tuple[int, int]]


@lowers("MaxPool", accepts="floats, 1 to 3 spatial axes, without Indices")
def lower_max_pool(e: Emitter, node: ir.Node) -> Var:
    """The largest element of each window; padding never wins."""
    if len(node.outputs) > 1 and node.outputs[1].uses():
        raise Refusal("the Indices of a MaxPool, which MIL does not give", "its first output")
    x, window = _operands(e, node)
    whole = kind_of(x) == "int"
    if whole:
        # Integers of up to 24 bits are exact in float32.
        x = e("cast", x=x, dtype="fp32")
    pads = _pads(e, node, x, window)
    if max(window.dilations) > 1 or _pads_exceed(pads, window):
        lowest = np.float32(np.finfo(np.float32).min)
        shifts = _shifted(e, _padded(e, x, pads, lowest), window)
        result = reduce(lambda a, b: e("maximum", x=a, y=b), shifts)
    else:
        result = _pool(e, "max_pool", x, window, pads)
    return e("cast", x=result, dtype="int32") if whole else result


@lowers("AveragePool", accepts="floats, 1 to 3 spatial axes")
def lower_average_pool(e: Emitter, node: ir.Node) -> Var:
    """The mean of each window, with or without its declared padding.

    What rounding up adds at the end is never counted, so declared padding that counts is
    written as zeros first.
    """
    x, window = _operands(e, node)
    pads = _pads(e, node, x, window)
    if int_attribute(node, "count_include_pad", 0) and any(map(any, pads)):
        declared = explicit_pads(window, shape_of(x)[2:], "a pool")
        x = _padded(e, x, declared, np.float32(0))
        pads = [
            (0, max(0, after - own)) for (_, after), (_, own) in zip(pads, declared, strict=True)
        ]
    if max(window.dilations) == 1 and not _pads_exceed(pads, window):
        return _pool(e, "avg_pool", x, window, pads, exclude_padding_from_average=True)
    totals = _sum(e, _shifted(e, _padded(e, x, pads, np.float32(0)), window))
    ones = e("add", x=e("mul", x=x, y=np.float32(0)), y=np.float32(1))
    counts = _sum(e, _shifted(e, _padded(e, ones, pads, np.float32(0)), window))
    return e("real_div", x=totals, y=counts)


@lowers("LpPool", accepts="floats, 1 to 3 spatial axes")
def lower_lp_pool(e: Emitter, node: ir.Node) -> Var:
    """The p-norm of each window: sums of powers, which padding with zeros leaves alone."""
    x, window = _operands(e, node)
    pads = _pads(e, node, x, window)
    p = int_attribute(node, "p", 2)
    powers = _power(e, e("abs", x=x), p)
    totals = _sum(e, _shifted(e, _padded(e, powers, pads, np.float32(0)), window))
    return _root(e, totals, p)


@lowers("GlobalAveragePool", "GlobalMaxPool", accepts="floats")
def lower_global_pool(e: Emitter, node: ir.Node) -> Var:
    """Over all spatial axes."""
    x = e.input(node, 0)
    op = "reduce_mean" if node.op_type == "GlobalAveragePool" else "reduce_max"
    return e(op, x=x, axes=list(range(2, rank_of(x))), keep_dims=True)


@lowers("GlobalLpPool", accepts="floats")
def lower_global_lp_pool(e: Emitter, node: ir.Node) -> Var:
    """The p-norm over all spatial axes."""
    x, p = e.input(node, 0), int_attribute(node, "p", 2)
    powers = _power(e, e("abs", x=x), p)
    return _root(e, e("reduce_sum", x=powers, axes=list(range(2, rank_of(x))), keep_dims=True), p)


def _operands(e: Emitter, node: ir.Node) -> tuple[Var, Window]:
    x = e.input(node, 0)
    spatial = rank_of(x) - 2
    if not 1 <= spatial <= 3:
        raise Refusal(f"a pool over {spatial} spatial axes", "1 to 3")
    return x, read_window(node, spatial)


def _pads(e: Emitter, node: ir.Node, x: Var, window: Window) -> Pads:
    """Padding of each axis, at the end enough for the last window when sizes round up."""
    sizes = shape_of(x)[2:]
    pads = explicit_pads(window, sizes, "a pool")
    if not int_attribute(node, "ceil_mode", 0):
        return pads
    grown = []
    for size, stride, reach, (before, after) in zip(
        sizes, window.strides, window.reach, pads, strict=True
    ):
        if is_open(size):
            if stride != 1:
                raise Refusal("ceil_mode over an open dimension", "fixed sizes")
            grown.append((before, after))
            continue
        whole = int(size) + before + after - reach
        windows = -(-whole // stride) + 1
        # A window that begins beyond the input and its leading padding is dropped (ONNX 1.16).
        if (windows - 1) * stride >= int(size) + before:
            windows -= 1
        grown.append((before, max(0, (windows - 1) * stride + reach - int(size) - before)))
    return grown


def _pads_exceed(pads: Pads, window: Window) -> bool:
    """Whether a window could lie in padding alone, for which MIL defines no result."""
    return any(max(pair) >= reach for pair, reach in zip(pads, window.reach, strict=True))


def _pool(e: Emitter, op: str, x: Var, window: Window, pads: Pads, **more: bool) -> Var:
    return e(
        op,
        x=x,
        kernel_sizes=list(window.kernel),
        strides=list(window.strides),
        pad_type="custom",
        pad=[amount for pair in pads for amount in pair],
        **more,
    )


def _padded(e: Emitter, x: Var, pads: Pads, value: np.float32) -> Var:
    if not any(map(any, pads)):
        return x
    flat = [0, 0, 0, 0] + [amount for pair in pads for amount in pair]
    return e("pad", x=x, pad=flat, mode="constant", constant_val=value)


def _shifted(e: Emitter, x: Var, window: Window) -> list[Var]:
    """For each element of the kernel what it sees, all windows at once."""
    if int(np.prod(window.kernel)) > _MOST_SHIFTS:
        raise Refusal(
            f"a dilated or p-norm pool over {int(np.prod(window.kernel))} elements",
            f"at most {_MOST_SHIFTS}",
        )
    sizes = shape_of(x)[2:]
    if any(is_open(size) for size in sizes):
        raise Refusal("a dilated or p-norm pool over an open dimension", "fixed sizes")
    counts = [
        (int(size) - reach) // stride + 1
        for size, reach, stride in zip(sizes, window.reach, window.strides, strict=True)
    ]
    found = []
    for place in product(*(range(size) for size in window.kernel)):
        begin = [at * step for at, step in zip(place, window.dilations, strict=True)]
        found.append(_strided(e, x, begin, counts, window.strides))
    return found


def _strided(
    e: Emitter, x: Var, begin: Sequence[int], counts: Sequence[int], strides: Sequence[int]
) -> Var:
    end = [
        first + (count - 1) * stride + 1
        for first, count, stride in zip(begin, counts, strides, strict=True)
    ]
    mask = [True, True, *[False] * len(counts)]
    return e(
        "slice_by_index",
        x=x,
        begin=[0, 0, *begin],
        end=[0, 0, *end],
        stride=[1, 1, *strides],
        begin_mask=mask,
        end_mask=mask,
    )


def _sum(e: Emitter, terms: list[Var]) -> Var:
    return reduce(lambda a, b: e("add", x=a, y=b), terms)


def _power(e: Emitter, x: Var, p: int) -> Var:
    if p == 1:
        return x
    return e("mul", x=x, y=x) if p == 2 else e("pow", x=x, y=np.float32(p))


def _root(e: Emitter, x: Var, p: int) -> Var:
    if p == 1:
        return x
    return e("sqrt", x=x) if p == 2 else e("pow", x=x, y=np.float32(1 / p))
