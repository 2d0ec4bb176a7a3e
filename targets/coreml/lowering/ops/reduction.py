"""Reductions."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    int_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    dtype_name,
    kind_of,
    rank_of,
    shape_of,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers

_REDUCTIONS = {
    "ReduceL1": "reduce_l1_norm", "ReduceL2": "reduce_l2_norm", "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean", "ReduceMin": "reduce_min", "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum", "ReduceSumSquare": "reduce_sum_square",
    "ReduceLogSum": "reduce_log_sum", "ReduceLogSumExp": "reduce_log_sum_exp",
}  # fmt: skip
_FLOAT_ONLY = {"ReduceL2", "ReduceMean", "ReduceLogSum", "ReduceLogSumExp"}
_OF_NONE = {
    "ReduceL1": 0.0, "ReduceL2": 0.0, "ReduceSum": 0.0, "ReduceSumSquare": 0.0, "ReduceProd": 1.0,
    "ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceLogSum": -np.inf,
    "ReduceLogSumExp": -np.inf,
}  # fmt: skip


@lowers(*_REDUCTIONS, accepts="constant axes")
def lower_reduction(e: Emitter, node: ir.Node) -> Var:
    """Over some or all axes; without any axes and ``noop_with_empty_axes`` element by element."""
    x = e.input(node, 0)
    axes = _axes(e, node)
    rank = rank_of(x)
    keep = bool(int_attribute(node, "keepdims", 1))
    if not axes and int_attribute(node, "noop_with_empty_axes", 0):
        return _element_by_element(e, node.op_type, x)
    chosen = sorted(normalized_axis(axis, rank) for axis in axes) if axes else list(range(rank))
    if rank == 0:
        return _element_by_element(e, node.op_type, x)
    if 0 in shape_of(x):
        return _of_nothing(e, node.op_type, x, chosen, keep)
    if node.op_type in {"ReduceMax", "ReduceMin"} and kind_of(x) == "bool":
        whole = e("cast", x=x, dtype="int32")
        result = e(_REDUCTIONS[node.op_type], x=whole, axes=chosen, keep_dims=keep)
        return e("cast", x=result, dtype="bool")
    if node.op_type in _FLOAT_ONLY and kind_of(x) != "float":
        raise Refusal(f"{node.op_type} of integers", "floats")
    if node.op_type == "ReduceLogSum":
        total = e("reduce_sum", x=x, axes=chosen, keep_dims=keep)
        return e("log", x=total, epsilon=np.float32(0))
    result = e(_REDUCTIONS[node.op_type], x=x, axes=chosen, keep_dims=keep)
    return e.wrapped(result, node.outputs[0])


def _axes(e: Emitter, node: ir.Node) -> list[int]:
    if "axes" in node.attributes:
        return [int(axis) for axis in node.attributes["axes"].as_ints()]
    return e.ints(node, 1, "the axes") or []


def _element_by_element(e: Emitter, op: str, x: Var) -> Var:
    if op in {"ReduceL1", "ReduceL2"}:
        return e("abs", x=x)
    if op == "ReduceSumSquare":
        return e("mul", x=x, y=x)
    if op == "ReduceLogSum":
        return e("log", x=x, epsilon=np.float32(0))
    return x


def _of_nothing(e: Emitter, op: str, x: Var, axes: list[int], keep: bool) -> Var:
    """A reduction over an axis without elements gives its neutral element."""
    sizes = [
        1 if index in axes else int(size)
        for index, size in enumerate(shape_of(x))
        if keep or index not in axes
    ]
    if 0 in sizes or op not in _OF_NONE or kind_of(x) != "float":
        raise Refusal("a reduction of a tensor without elements")
    return e.constant(np.full(sizes, _OF_NONE[op], np.float32))


@lowers("ArgMax", "ArgMin", accepts="a fixed size along the axis for select_last_index")
def lower_arg(e: Emitter, node: ir.Node) -> Var:
    """Index of the first largest or smallest element, or of the last one."""
    x = e.input(node, 0)
    axis = normalized_axis(int_attribute(node, "axis", 0), rank_of(x))
    keep = bool(int_attribute(node, "keepdims", 1))
    op = "reduce_argmax" if node.op_type == "ArgMax" else "reduce_argmin"
    if dtype_name(required_input(node, 0)) in {"uint32", "uint64"}:
        raise Refusal("unsigned 32-bit integers in order, which Core ML does not have")
    if not int_attribute(node, "select_last_index", 0):
        return e(op, x=x, axis=axis, keep_dims=keep)
    size = shape_of(x)[axis]
    if not isinstance(size, int | np.integer):
        raise Refusal("select_last_index along an open dimension", "a fixed size")
    found = e(op, x=e("reverse", x=x, axes=[axis]), axis=axis, keep_dims=keep)
    return e("sub", x=np.int32(int(size) - 1), y=found)


@lowers("CumSum", accepts="a constant axis")
def lower_cumsum(e: Emitter, node: ir.Node) -> Var:
    """Running sums."""
    x = e.input(node, 0)
    axis = int(e.required_array(node, 1, "the axis").reshape(-1)[0])
    result = e(
        "cumsum", x=x, axis=normalized_axis(axis, rank_of(x)),
        exclusive=bool(int_attribute(node, "exclusive", 0)),
        reverse=bool(int_attribute(node, "reverse", 0)),
    )  # fmt: skip
    return e.wrapped(result, node.outputs[0])


@lowers("CumProd", accepts="nothing")
def refuse_cumprod(e: Emitter, node: ir.Node) -> Var:
    """Running products."""
    optional_input(node, 0)
    raise Refusal("MIL has no running product")
