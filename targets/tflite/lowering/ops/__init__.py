"""Operator lowerings by category; importing this package registers all of them."""

from edgekit.targets.tflite.lowering.ops import (
    activation,
    binary,
    concat,
    conv,
    conv_transpose,
    depth_space,
    gather,
    linear,
    movement,
    pad,
    pool,
    reduce,
    resize,
    slicing,
    softmax,
    unary,
)

__all__ = [
    "activation",
    "binary",
    "concat",
    "conv",
    "conv_transpose",
    "depth_space",
    "gather",
    "linear",
    "movement",
    "pad",
    "pool",
    "reduce",
    "resize",
    "slicing",
    "softmax",
    "unary",
]
