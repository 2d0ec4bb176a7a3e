"""Activations with parameters, and softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    normalized_axis,
    optional_input,
    required_input,
)
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    is_open,
    kind_of,
    rank_of,
    shape_of,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers


@lowers("LeakyRelu", accepts="floats")
def lower_leaky_relu(e: Emitter, node: ir.Node) -> Var:
    """``x`` or ``alpha * x``."""
    alpha = np.float32(float_attribute(node, "alpha", 0.01))
    return e("leaky_relu", x=e.input(node, 0), alpha=alpha)


@lowers("Elu", accepts="floats")
def lower_elu(e: Emitter, node: ir.Node) -> Var:
    """``x`` or ``alpha * (exp(x) - 1)``."""
    return e("elu", x=e.input(node, 0), alpha=np.float32(float_attribute(node, "alpha", 1.0)))


@lowers("Celu", accepts="floats")
def lower_celu(e: Emitter, node: ir.Node) -> Var:
    """``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))``."""
    alpha = float_attribute(node, "alpha", 1.0)
    x = e.input(node, 0)
    grown = e("elu", x=e("mul", x=x, y=np.float32(1 / alpha)), alpha=np.float32(1))
    return e("mul", x=grown, y=np.float32(alpha))


@lowers("Selu", accepts="floats")
def lower_selu(e: Emitter, node: ir.Node) -> Var:
    """``gamma * elu(x, alpha)``."""
    alpha = float_attribute(node, "alpha", 1.67326319217681884765625)
    gamma = float_attribute(node, "gamma", 1.05070102214813232421875)
    grown = e("elu", x=e.input(node, 0), alpha=np.float32(alpha))
    return e("mul", x=grown, y=np.float32(gamma))


@lowers("ThresholdedRelu", accepts="floats")
def lower_thresholded_relu(e: Emitter, node: ir.Node) -> Var:
    """``x`` above alpha, else 0; MIL's operator includes alpha itself."""
    x = e.input(node, 0)
    above = e("greater", x=x, y=np.float32(float_attribute(node, "alpha", 1.0)))
    return e("mul", x=x, y=e("cast", x=above, dtype="fp32"))


@lowers("Shrink", accepts="floats")
def lower_shrink(e: Emitter, node: ir.Node) -> Var:
    """Towards zero by the bias outside of [-lambd, lambd], 0 within."""
    bias = float_attribute(node, "bias", 0.0)
    limit = float_attribute(node, "lambd", 0.5)
    x = e.input(node, 0)
    if kind_of(x) != "float":
        raise Refusal("Shrink on integers", "floats")
    below = e("cast", x=e("less", x=x, y=np.float32(-limit)), dtype="fp32")
    above = e("cast", x=e("greater", x=x, y=np.float32(limit)), dtype="fp32")
    left = e("mul", x=e("add", x=x, y=np.float32(bias)), y=below)
    right = e("mul", x=e("sub", x=x, y=np.float32(bias)), y=above)
    return e("add", x=left, y=right)


@lowers("HardSigmoid", accepts="floats")
def lower_hard_sigmoid(e: Emitter, node: ir.Node) -> Var:
    """``clip(alpha * x + beta, 0, 1)``."""
    return e(
        "sigmoid_hard",
        x=e.input(node, 0),
        alpha=np.float32(float_attribute(node, "alpha", 0.2)),
        beta=np.float32(float_attribute(node, "beta", 0.5)),
    )


@lowers("HardSwish", accepts="floats")
def lower_hard_swish(e: Emitter, node: ir.Node) -> Var:
    """``x * clip(x / 6 + 1/2, 0, 1)``."""
    x = e.input(node, 0)
    return e("mul", x=x, y=e("sigmoid_hard", x=x, alpha=np.float32(1 / 6), beta=np.float32(0.5)))


@lowers("PRelu", accepts="a slope by channel or one that broadcasts")
def lower_prelu(e: Emitter, node: ir.Node) -> Var:
    """``x`` or ``slope * x``; MIL's own operator where the slope is one number a channel."""
    x, slope = e.input(node, 0), e.array(required_input(node, 1))
    rank = rank_of(x)
    if slope is not None and kind_of(x) == "float" and rank >= 3:
        channels = shape_of(x)[1]
        along = [size for size in slope.shape if size != 1]
        at = slope.ndim - (rank - 1)
        by_channel = along == [channels] and at >= 0 and slope.shape[at] == channels
        if not is_open(channels) and (by_channel or slope.size == 1):
            alpha = np.broadcast_to(slope.reshape(-1), (int(channels),))
            return e("prelu", x=x, alpha=np.asarray(alpha, np.float32))
    zero = np.int32(0) if kind_of(x) == "int" else np.float32(0)
    left = e("mul", x=e("minimum", x=x, y=zero), y=e.input(node, 1))
    return e("add", x=e("maximum", x=x, y=zero), y=left)


@lowers("Clip", accepts="floats and integers")
def lower_clip(e: Emitter, node: ir.Node) -> Var:
    """Between two limits, each of them optional; a lower limit above the upper one gives that."""
    x = e.input(node, 0)
    if e.opset < 11:
        limits = [_attribute_limit(node, "min"), _attribute_limit(node, "max")]
    else:
        limits = [e.optional(node, index) for index in (1, 2)]
    known = [
        e.array(optional_input(node, index)) if e.opset >= 11 else limits[index - 1]
        for index in (1, 2)
    ]
    if kind_of(x) == "float" and all(item is not None for item in known):
        low, high = (np.float32(np.asarray(item).reshape(())) for item in known)
        if low == 0 and high == 6:
            return e("relu6", x=x)
        if np.isfinite(low) and np.isfinite(high) and low <= high:
            return e("clip", x=x, alpha=low, beta=high)
    low_limit, high_limit = limits
    if low_limit is not None:
        x = e("maximum", x=x, y=low_limit)
    return x if high_limit is None else e("minimum", x=x, y=high_limit)


def _attribute_limit(node: ir.Node, name: str) -> np.float32 | None:
    return np.float32(float_attribute(node, name, 0.0)) if name in node.attributes else None


@lowers("Softmax", "LogSoftmax", accepts="floats")
def lower_softmax(e: Emitter, node: ir.Node) -> Var:
    """Along one axis; before opset 13 along all axes from the given one on."""
    x = e.input(node, 0)
    axis = int_attribute(node, "axis", -1 if e.opset >= 13 else 1)
    axis = normalized_axis(axis, rank_of(x))
    flat = e.opset < 13 and axis != rank_of(x) - 1
    if flat:
        whole = e("reshape", x=x, shape=_flattened(x, axis))
        result = _softmax(e, node.op_type, whole, axis)
        return e("reshape", x=result, shape=e("shape", x=x))
    return _softmax(e, node.op_type, x, axis)


def _flattened(x: Var, axis: int) -> list[int]:
    sizes = shape_of(x)
    if any(is_open(size) for size in sizes[:axis]) and any(is_open(s) for s in sizes[axis:]):
        raise Refusal("softmax over several axes with open sizes", "fixed sizes, or opset 13")
    if any(is_open(size) for size in sizes[axis:]):
        return [*(int(size) for size in sizes[:axis]), -1]
    leading = [-1 if is_open(size) else int(size) for size in sizes[:axis]]
    if leading.count(-1) > 1:
        raise Refusal("softmax over several axes with open sizes", "fixed sizes, or opset 13")
    return [*leading, int(np.prod([int(size) for size in sizes[axis:]]))]


def _softmax(e: Emitter, op: str, x: Var, axis: int) -> Var:
    if op == "Softmax":
        return e("softmax", x=x, axis=axis)
    largest = e("reduce_max", x=x, axes=[axis], keep_dims=True)
    moved = e("sub", x=x, y=largest)
    total = e("reduce_sum", x=e("exp", x=moved), axes=[axis], keep_dims=True)
    return e("sub", x=moved, y=e("log", x=total, epsilon=np.float32(0)))


@lowers("Hardmax", accepts="floats of opset 13 and later")
def lower_hardmax(e: Emitter, node: ir.Node) -> Var:
    """1 at the first largest element along an axis, 0 elsewhere."""
    x = e.input(node, 0)
    axis = normalized_axis(int_attribute(node, "axis", -1), rank_of(x))
    size = shape_of(x)[axis]
    if is_open(size):
        raise Refusal("Hardmax along an open dimension", "a fixed size")
    if e.opset < 13 and axis != rank_of(x) - 1:
        raise Refusal("Hardmax over several axes", "opset 13 or later")
    best = e("reduce_argmax", x=x, axis=axis, keep_dims=False)
    return e(
        "one_hot", indices=best, one_hot_vector_size=int(size), axis=axis,
        on_value=np.float32(1), off_value=np.float32(0),
    )  # fmt: skip
