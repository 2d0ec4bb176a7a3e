"""Normalizations."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    normalized_axis,
    optional_input,
)
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    is_open,
    kind_of,
    rank_of,
    shape_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers


def _by_channel(e: Emitter, x: Var, vector: Var) -> Var:
    """A vector of one number a channel, shaped to broadcast over ``x``."""
    if rank_of(x) == 2:
        return vector
    return e("reshape", x=vector, shape=[1, -1, *[1] * (rank_of(x) - 2)])


@lowers("BatchNormalization", accepts="inference form")
def lower_batch_norm(e: Emitter, node: ir.Node) -> Var:
    """With stored statistics; MIL's own operator where they are constants."""
    trained = int_attribute(node, "training_mode", 0)
    if trained or any(output.uses() for output in node.outputs[1:]):
        raise Refusal("batch normalization in training mode", "the inference form")
    x = e.input(node, 0)
    known = [e.array(node.inputs[index]) for index in range(1, 5)]
    epsilon = np.float32(float_attribute(node, "epsilon", 1e-5))
    if 3 <= rank_of(x) <= 5 and all(array is not None for array in known):
        gamma, beta, mean, variance = (np.asarray(array, np.float32) for array in known)
        return e(
            "batch_norm", x=x, mean=mean, variance=variance, gamma=gamma, beta=beta,
            epsilon=epsilon,
        )  # fmt: skip
    gamma, beta, mean, variance = (
        _by_channel(e, x, e.input(node, index)) for index in range(1, 5)
    )
    scale = e("real_div", x=gamma, y=e("sqrt", x=e("add", x=variance, y=epsilon)))
    return e("add", x=e("mul", x=e("sub", x=x, y=mean), y=scale), y=beta)


@lowers("InstanceNormalization", accepts="floats")
def lower_instance_norm(e: Emitter, node: ir.Node) -> Var:
    """Statistics of each sample's channel."""
    x = e.input(node, 0)
    axes = list(range(2, rank_of(x)))
    normalized = normalize(e, x, axes, float_attribute(node, "epsilon", 1e-5))
    scaled = e("mul", x=normalized, y=_by_channel(e, x, e.input(node, 1)))
    return e("add", x=scaled, y=_by_channel(e, x, e.input(node, 2)))


def normalize(e: Emitter, x: Var, axes: list[int], epsilon: float) -> Var:
    """``(x - mean) / sqrt(variance + epsilon)`` over the given axes."""
    return e("layer_norm", x=x, axes=axes, epsilon=np.float32(epsilon))


@lowers("LayerNormalization", accepts="floats")
def lower_layer_norm(e: Emitter, node: ir.Node) -> list[Var | None]:
    """Statistics of the axes from one on; mean and inverse deviation where they are read."""
    x = e.input(node, 0)
    first = normalized_axis(int_attribute(node, "axis", -1), rank_of(x))
    axes = list(range(first, rank_of(x)))
    epsilon = float_attribute(node, "epsilon", 1e-5)
    gamma, beta = e.array(node.inputs[1]), e.array(optional_input(node, 2))
    sizes = shape_of(x)[first:]
    fits = gamma is not None and gamma.shape == sizes
    fits = fits and (optional_input(node, 2) is None or (beta is not None and beta.shape == sizes))
    if fits:
        result = e(
            "layer_norm", x=x, axes=axes, gamma=np.asarray(gamma, np.float32),
            beta=None if beta is None else np.asarray(beta, np.float32),
            epsilon=np.float32(epsilon),
        )  # fmt: skip
    else:
        result = e("mul", x=normalize(e, x, axes, epsilon), y=e.input(node, 1))
        shift = e.optional(node, 2)
        result = result if shift is None else e("add", x=result, y=shift)
    read = [output.uses() or output.is_graph_output() for output in node.outputs[1:]]
    if not any(read):
        return [result, *[None] * len(read)]
    mean = e("reduce_mean", x=x, axes=axes, keep_dims=True)
    moved = e("sub", x=x, y=mean)
    variance = e("reduce_mean", x=e("mul", x=moved, y=moved), axes=axes, keep_dims=True)
    root = e("sqrt", x=e("add", x=variance, y=np.float32(epsilon)))
    return [result, mean, e("real_div", x=np.float32(1), y=root)][: len(node.outputs)]


@lowers("RMSNormalization", accepts="floats")
def lower_rms_norm(e: Emitter, node: ir.Node) -> Var:
    """``x / sqrt(mean(x^2) + epsilon) * scale``."""
    x = e.input(node, 0)
    first = normalized_axis(int_attribute(node, "axis", -1), rank_of(x))
    axes = list(range(first, rank_of(x)))
    mean = e("reduce_mean", x=e("mul", x=x, y=x), axes=axes, keep_dims=True)
    epsilon = np.float32(float_attribute(node, "epsilon", 1e-5))
    root = e("sqrt", x=e("add", x=mean, y=epsilon))
    return e("mul", x=e("real_div", x=x, y=root), y=e.input(node, 1))


@lowers("GroupNormalization", accepts="fixed channels; open batch or fixed sizes")
def lower_group_norm(e: Emitter, node: ir.Node) -> Var:
    """Statistics of groups of channels; scale and bias by group before opset 21."""
    x = e.input(node, 0)
    sizes = shape_of(x)
    groups = int_attribute(node, "num_groups", 1)
    if any(is_open(size) for size in sizes[1:]):
        raise Refusal("group normalization of open sizes", "fixed sizes besides the batch")
    channels = int(sizes[1])
    batch = -1 if is_open(sizes[0]) else int(sizes[0])
    grouped = e(
        "reshape", x=x, shape=[batch, groups, int(np.prod([int(s) for s in sizes[1:]])) // groups]
    )
    normalized = normalize(e, grouped, [2], float_attribute(node, "epsilon", 1e-5))
    scale, shift = e.input(node, 1), e.input(node, 2)
    if e.opset < 21 and groups != channels:
        scale, shift = (_repeated(e, vector, channels // groups) for vector in (scale, shift))
    back = e("reshape", x=normalized, shape=[batch, *(int(size) for size in sizes[1:])])
    return e("add", x=e("mul", x=back, y=_by_channel(e, x, scale)), y=_by_channel(e, x, shift))


def _repeated(e: Emitter, vector: Var, times: int) -> Var:
    spread = e("tile", x=e("expand_dims", x=vector, axes=[1]), reps=[1, times])
    return e("reshape", x=spread, shape=[-1])


@lowers("LRN", accepts="floats")
def lower_lrn(e: Emitter, node: ir.Node) -> Var:
    """``x / (bias + alpha / size * sum of squares of near channels) ^ beta``.

    Composed of shifted channels: MIL's own operator leaves open how an even size is centred.
    """
    x = e.input(node, 0)
    size = int_attribute(node, "size", 1)
    before, after = (size - 1) // 2, size - 1 - (size - 1) // 2
    channels = static_sizes(x, "LRN's input")[1]
    squares = e("mul", x=x, y=x)
    flat = [0, 0, before, after] + [0, 0] * (rank_of(x) - 2)
    padded = e("pad", x=squares, pad=flat, mode="constant", constant_val=np.float32(0))
    total: Var = None
    rest = [True] * (rank_of(x) - 2)
    for shift in range(size):
        begin, end = [0, shift], [0, shift + channels]
        near = e(
            "slice_by_index", x=padded,
            begin=[*begin, *[0] * len(rest)], end=[*end, *[0] * len(rest)],
            begin_mask=[True, False, *rest], end_mask=[True, False, *rest],
        )  # fmt: skip
        total = near if total is None else e("add", x=total, y=near)
    alpha = np.float32(float_attribute(node, "alpha", 1e-4) / size)
    base = e("add", x=e("mul", x=total, y=alpha), y=np.float32(float_attribute(node, "bias", 1.0)))
    return e(
        "real_div", x=x,
        y=e("pow", x=base, y=np.float32(float_attribute(node, "beta", 0.75))),
    )  # fmt: skip


@lowers("LpNormalization", accepts="p of 1 or 2")
def lower_lp_normalization(e: Emitter, node: ir.Node) -> Var:
    """``x`` by its norm along an axis; 0 where the norm is 0."""
    x = e.input(node, 0)
    axis = normalized_axis(int_attribute(node, "axis", -1), rank_of(x))
    op = "reduce_l1_norm" if int_attribute(node, "p", 2) == 1 else "reduce_l2_norm"
    norm = e(op, x=x, axes=[axis], keep_dims=True)
    empty = e("cast", x=e("equal", x=norm, y=np.float32(0)), dtype="fp32")
    return e("real_div", x=x, y=e("add", x=norm, y=empty))


@lowers("MeanVarianceNormalization", accepts="floats")
def lower_mean_variance(e: Emitter, node: ir.Node) -> Var:
    """``(x - mean) / (deviation + 1e-9)`` over the given axes."""
    attribute = node.attributes.get("axes")
    axes = [0, 2, 3] if attribute is None else [int(axis) for axis in attribute.as_ints()]
    x = e.input(node, 0)
    if kind_of(x) != "float":
        raise Refusal("normalization of integers", "floats")
    moved = e("sub", x=x, y=e("reduce_mean", x=x, axes=axes, keep_dims=True))
    variance = e("reduce_mean", x=e("mul", x=moved, y=moved), axes=axes, keep_dims=True)
    return e("real_div", x=moved, y=e("add", x=e("sqrt", x=variance), y=np.float32(1e-9)))
