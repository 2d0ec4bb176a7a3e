"""Operators whose definition in coremltools computes their value: what each is tried with.

Left out is what that definition gets wrong (exclusive cumsum, interleaved concat); other tests
cover it.

A body takes variables and gives one or several. It is evaluated on constants by coremltools, and
in a saved package by the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.targets.coreml.toolchain import mb
from tests.targets.coreml.mil_packages import random

type Array = Any
type Body = Callable[..., Any]


@dataclass(frozen=True)
class Case:
    """One body with its arguments, and the opsets in which it is legal."""

    body: Body
    feeds: Mapping[str, Array]
    opsets: tuple[str, ...] = field(default=("iOS15", "iOS16", "iOS17", "iOS18"))


X = random((2, 3, 4), 1)
Y = random((3, 1), 2)
POSITIVE = np.abs(X) + np.float32(0.25)
UNIT = np.tanh(X)
HALVES = (np.round(X * 4) / 2).astype(np.float32)
WHOLE = np.array([[7, -7, 3], [-8, 5, 0]], np.int32)
DIVISOR = np.array([[2, 2, -2], [3, -3, 4]], np.int32)
BITS = np.array([[1, 0, 1], [0, 0, 1]], np.int32)
OTHER_BITS = np.array([[1, 1, 0], [0, 1, 1]], np.int32)
NEWER = ("iOS17", "iOS18")


def _unary(name: str, values: Array, **options: Any) -> Case:
    return Case(lambda x: getattr(mb, name)(x=x, **options), {"x": values})


def _binary(name: str, x: Array, y: Array) -> Case:
    return Case(lambda x, y: getattr(mb, name)(x=x, y=y), {"x": x, "y": y})


def _logical(name: str) -> Case:
    def body(x: Any, y: Any) -> Any:
        return getattr(mb, name)(x=mb.cast(x=x, dtype="bool"), y=mb.cast(x=y, dtype="bool"))

    return Case(body, {"x": BITS, "y": OTHER_BITS})


UNARY = {
    **{name: _unary(name, X) for name in (
        "abs", "atan", "cos", "erf", "exp", "exp2", "identity", "relu", "relu6", "sigmoid",
        "sign", "sin", "softplus", "softsign", "square", "tan", "tanh", "cosh", "sinh")},
    **{name: _unary(name, UNIT) for name in ("acos", "asin", "atanh")},
    **{name: _unary(name, POSITIVE) for name in ("inverse", "log", "rsqrt", "sqrt")},
    **{name: _unary(name, HALVES) for name in ("ceil", "floor", "round")},
    "inverse of little": _unary("inverse", POSITIVE / 1000, epsilon=0.125),
    "log of more": _unary("log", POSITIVE, epsilon=0.5),
    "rsqrt of more": _unary("rsqrt", POSITIVE, epsilon=0.5),
    "clip": _unary("clip", X, alpha=-0.5, beta=0.25),
    "threshold": _unary("threshold", X, alpha=0.125),
    "thresholded_relu": _unary("thresholded_relu", HALVES, alpha=0.5),
    "clamped_relu": _unary("clamped_relu", X, alpha=0.25, beta=0.5),
    "elu": _unary("elu", X, alpha=0.5),
    "leaky_relu": _unary("leaky_relu", X, alpha=0.25),
    "linear_activation": _unary("linear_activation", X, alpha=0.5, beta=0.25),
    "scaled_tanh": _unary("scaled_tanh", X, alpha=0.5, beta=0.25),
    "sigmoid_hard": _unary("sigmoid_hard", X, alpha=0.5, beta=0.25),
    "gelu": _unary("gelu", X),
    "gelu by tanh": _unary("gelu", X, mode="TANH_APPROXIMATION"),
    "prelu": _unary("prelu", random((2, 3, 4, 2), 1), alpha=np.array([0.1, 0.2, 0.3], np.float32)),
    "softplus_parametric": _unary(
        "softplus_parametric", X, alpha=np.array([1, 2, 3], np.float32),
        beta=np.array([3, 2, 1], np.float32)),
    "softmax": _unary("softmax", X),
    "softmax of the first axis": _unary("softmax", X, axis=0),
    "logical_not": Case(
        lambda x: mb.logical_not(x=mb.cast(x=x, dtype="bool")), {"x": BITS}),
    "cast to int32": _unary("cast", X * 3, dtype="int32"),
    "cast to bool": _unary("cast", HALVES, dtype="bool"),
    "cast of integers": _unary("cast", WHOLE, dtype="fp32"),
    "abs of integers": _unary("abs", WHOLE),
    "sign of integers": _unary("sign", WHOLE),
}  # fmt: skip

BINARY = {
    **{name: _binary(name, X, Y) for name in (
        "add", "sub", "mul", "maximum", "minimum", "real_div", "floor_div", "mod", "equal",
        "not_equal", "greater", "greater_equal", "less", "less_equal")},
    **{f"{name} of integers": _binary(name, WHOLE, DIVISOR) for name in (
        "add", "sub", "mul", "maximum", "minimum", "floor_div", "mod", "equal", "not_equal",
        "greater", "less_equal")},
    "equal where so": _binary("equal", HALVES, np.round(HALVES)),
    "pow": _binary("pow", POSITIVE, Y),
    "pow of integers": _binary("pow", WHOLE, np.abs(DIVISOR)),
    "logical_and": _logical("logical_and"),
    "logical_or": _logical("logical_or"),
    "logical_xor": _logical("logical_xor"),
    "select": Case(
        lambda c, x, y: mb.select(cond=mb.cast(x=c, dtype="bool"), a=x, b=y),
        {"c": BITS, "x": WHOLE, "y": DIVISOR}),
    "linear": Case(
        lambda x: mb.linear(x=x, weight=random((5, 4), 3), bias=random((5,), 4)), {"x": X}),
    "linear without bias": Case(lambda x: mb.linear(x=x, weight=random((5, 4), 3)), {"x": X}),
    "matmul": Case(
        lambda x, y: mb.matmul(x=x, y=y, transpose_x=True),
        {"x": X, "y": random((2, 3, 5), 5)}),
    "matmul transposed": Case(
        lambda x, y: mb.matmul(x=x, y=y, transpose_y=True),
        {"x": X, "y": random((1, 5, 4), 5)}),
    "einsum": Case(
        lambda x, y: mb.einsum(values=[x, y], equation="nchw,nwhu->nchu"),
        {"x": random((2, 3, 4, 5), 6), "y": random((2, 5, 4, 2), 7)}),
}  # fmt: skip


def _reduction(name: str, values: Array, **options: Any) -> Case:
    return Case(lambda x: getattr(mb, name)(x=x, **options), {"x": values})


_REDUCTIONS = ("reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum", "reduce_log_sum_exp",
               "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum",
               "reduce_sum_square")  # fmt: skip

REDUCTIONS = {
    **{f"{name} over all": _reduction(name, POSITIVE, keep_dims=True) for name in _REDUCTIONS},
    **{f"{name} over some": _reduction(name, POSITIVE, axes=[0, -1]) for name in _REDUCTIONS},
    **{f"{name} of integers": _reduction(name, WHOLE, axes=[1], keep_dims=True)
       for name in ("reduce_max", "reduce_min", "reduce_prod", "reduce_sum")},
    **{f"{name} of ties": _reduction(name, HALVES, axis=1)
       for name in ("reduce_argmax", "reduce_argmin")},
    **{f"{name} kept": _reduction(name, X, axis=-2, keep_dims=True)
       for name in ("reduce_argmax", "reduce_argmin")},
    "argsort": _reduction("argsort", X, axis=1),
    "argsort upwards": _reduction("argsort", X, ascending=True),
    "topk": _reduction("topk", X, k=2, axis=1),
    "topk upwards": _reduction("topk", X, k=3, ascending=True),
    "cumsum": _reduction("cumsum", X, axis=1),
    "cumsum backwards": _reduction("cumsum", X, axis=0, reverse=True),
    "layer_norm": _reduction(
        "layer_norm", X, axes=[-1], gamma=random((4,), 8), beta=random((4,), 9), epsilon=1e-3),
    "layer_norm of two axes": _reduction("layer_norm", X, axes=[1, 2]),
    "l2_norm": _reduction("l2_norm", X, epsilon=1e-3),
}  # fmt: skip

SHAPES = {
    "transpose": _unary("transpose", X, perm=[2, 0, 1]),
    "reshape": _unary("reshape", X, shape=[0, -1, 2]),
    "flatten2d": _unary("flatten2d", X, axis=2),
    "flatten2d from the end": _unary("flatten2d", X, axis=-1),
    "expand_dims": _unary("expand_dims", X, axes=[0, -1]),
    "squeeze": _unary("squeeze", X[:1, :, :1], axes=[0]),
    "squeeze all": _unary("squeeze", X[:1, :, :1]),
    "shape": _unary("shape", X),
    "tile": _unary("tile", X, reps=[1, 2, 3]),
    "reverse": _unary("reverse", X, axes=[0, 2]),
    "reverse all": _unary("reverse", X),
    "band_part": _unary("band_part", X, lower=1, upper=0),
    "band_part above": _unary("band_part", X, lower=0, upper=-1),
    "pad": _unary("pad", X, pad=[1, 2, 0, 1], mode="constant", constant_val=0.5),
    "pad reflected": _unary("pad", X, pad=[1, 2, 2, 1], mode="reflect"),
    "pad replicated": _unary("pad", X, pad=[2, 3], mode="replicate"),
    "concat": Case(
        lambda x, y: mb.concat(values=[x, y], axis=-1), {"x": X, "y": random((2, 3, 2), 3)}),
    "stack": Case(lambda x, y: mb.stack(values=[x, y], axis=-1), {"x": X, "y": X + 1}),
    "split": _unary("split", X, num_splits=2, axis=2),
    "split by sizes": _unary("split", X, split_sizes=[1, 2], axis=-2),
    "slice_by_index": _unary(
        "slice_by_index", X, begin=[0, -2, 3], end=[2, 3, 0], stride=[1, 1, -2]),
    "slice_by_index masked": _unary(
        "slice_by_index", X, begin=[1, 1, 3], end=[0, 0, 0], stride=[1, 1, -1],
        begin_mask=[False, True, False], end_mask=[False, True, True],
        squeeze_mask=[True, False, False]),
    "slice_by_size": _unary("slice_by_size", X, begin=[0, 1, 2], size=[1, -1, 2]),
    "gather": _unary("gather", X, indices=np.array([[2, 0], [1, 1]], np.int32), axis=1),
    "gather_along_axis": _unary(
        "gather_along_axis", X, indices=np.array([[[2, 0, 1, 1]], [[0, 0, 2, 1]]], np.int32),
        axis=1),
    "scatter_along_axis": Case(
        lambda x: mb.scatter_along_axis(
            data=x, indices=np.array([[2, 0], [1, 1]], np.int32),
            updates=np.array([[10, 20], [30, 40]], np.int32), axis=1, mode="update"),
        {"x": WHOLE}),
    "fill of an input": Case(
        lambda s: mb.fill(shape=s, value=0.5), {"s": np.array([2, 3], np.int32)}),
    "range_1d": Case(
        lambda a, b: mb.range_1d(start=a, end=b, step=np.int32(3)),
        {"a": np.array(-4, np.int32), "b": np.array(9, np.int32)}),
}  # fmt: skip


def _quantized(axis: int | None, dtype: str) -> Case:
    scale = np.array([0.1, 0.25, 0.5], np.float32) if axis is not None else np.float32(0.125)
    kind = np.dtype(dtype).type
    zero = np.array([3, 0, 7], kind) if axis is not None else kind(5)
    more: dict[str, Any] = {} if axis is None else {"axis": axis}

    def body(x: Any) -> Any:
        return mb.quantize(input=x, scale=scale, zero_point=zero, output_dtype=dtype, **more)

    return Case(body, {"x": np.concatenate([X, 60 * X, HALVES / 8])}, NEWER)


NEW = {
    "quantize int8": _quantized(None, "int8"),
    "quantize uint8": _quantized(None, "uint8"),
    "quantize int8 by axis": _quantized(1, "int8"),
    "quantize uint8 by axis": _quantized(-2, "uint8"),
    "cast to int8": Case(lambda x: mb.cast(x=x, dtype="int8"), {"x": X * 20}, NEWER),
    "cast to uint16": Case(lambda x: mb.cast(x=x, dtype="uint16"), {"x": POSITIVE * 20}, NEWER),
    "gather, last from the end": Case(
        lambda x: mb.gather(x=x, indices=np.array([-1, 0], np.int32), axis=2), {"x": X}, NEWER),
    "reduce_argmax as uint16": Case(
        lambda x: mb.reduce_argmax(x=x, axis=1, output_dtype="uint16"), {"x": X}, NEWER),
    "topk as uint16": Case(
        lambda x: mb.topk(x=x, k=2, axis=1, output_indices_dtype="uint16"), {"x": X}, NEWER),
    "topk without indices": Case(
        lambda x: mb.topk(x=x, k=2, axis=0, return_indices=False), {"x": X}, NEWER),
    "reshape of zeros": Case(
        lambda x: mb.reshape(x=x, shape=[4, 0, 0]),
        {"x": random((4, 3, 2), 1)}, NEWER),
    "reshape from the last axis": Case(
        lambda x: mb.reshape(x=x, shape=[1, 0, -1, 0]), {"x": random((2, 5), 1)}, NEWER),
    "reshape to fewer axes": Case(
        lambda x: mb.reshape(x=x, shape=[-1, 0]), {"x": X}, NEWER),
    "scaled_dot_product_attention": Case(
        lambda x, y, m: mb.scaled_dot_product_attention(query=x, key=y, value=y, attn_mask=m),
        {"x": random((1, 2, 4, 8), 1), "y": random((1, 2, 6, 8), 2), "m": random((4, 6), 3)},
        ("iOS18",)),
    "slice_update": Case(
        lambda x, y: mb.slice_update(x=x, update=y, begin=[1, 0, 1], end=[2, 3, 4],
                                     squeeze_mask=[True, False, False]),
        {"x": X, "y": random((3, 3), 4)}, ("iOS18",)),
}  # fmt: skip

CASES: dict[str, Case] = {**UNARY, **BINARY, **REDUCTIONS, **SHAPES, **NEW}
