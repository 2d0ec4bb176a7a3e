"""Cases of the normalizations over the last axes, over space, and over groups of channels."""

from __future__ import annotations

import numpy as np

from tests.targets.tflite.lowering.single_op import Case, ints

_CORE = {"MEAN": 2, "SUB": 1, "MUL": 2, "ADD": 1, "RSQRT": 1}
"""Operators of a normalization without scale and bias."""
_AFFINE = {**_CORE, "MUL": 3, "ADD": 2}
_IMAGE = {"x": (2, 6, 5, 4)}

NORMALIZATIONS = [
    Case(
        "layer_norm_last_axis",
        "y = LayerNormalization(x, s, b)",
        {"x": (2, 5, 8)},
        {"s": (8,), "b": (8,)},
        ops=_AFFINE,
    ),
    Case(
        "layer_norm_without_bias",
        "y = LayerNormalization <axis = 1, epsilon = 0.5> (x, s)",
        {"x": (3, 8)},
        {"s": (8,)},
        ops={**_CORE, "MUL": 3},
    ),
    Case(
        "layer_norm_neutral_scale_and_bias",
        "y = LayerNormalization(x, s, b)",
        {"x": (3, 8)},
        {"s": np.ones(8, np.float32), "b": np.zeros(8, np.float32)},
        ops=_CORE,
    ),
    Case(
        "layer_norm_two_axes",
        "y = LayerNormalization <axis = -2> (x, s, b)",
        {"x": (2, 3, 5, 4)},
        {"s": (5, 4), "b": (1, 4)},
        ops=_AFFINE,
    ),
    Case(
        "layer_norm_of_channels_stays_in_nhwc",
        "c = Conv(x, k)\nt = Transpose <perm = [0,2,3,1]> (c)\n"
        "n = LayerNormalization(t, s, b)\nu = Transpose <perm = [0,3,1,2]> (n)\ny = Conv(u, l)",
        _IMAGE,
        {"k": (8, 6, 1, 1), "s": (8,), "b": (8,), "l": (3, 8, 1, 1)},
        ops={**_AFFINE, "CONV_2D": 2},
    ),
    Case(
        "layer_norm_of_height_and_width_in_nhwc",
        "c = Conv(x, k)\ny = LayerNormalization <axis = 2> (c, s, b)",
        _IMAGE,
        {"k": (8, 6, 1, 1), "s": (5, 4), "b": (5, 1)},
        ops={**_AFFINE, "CONV_2D": 1},
    ),
    Case(
        "layer_norm_scale_from_an_input",
        "y = LayerNormalization(x, z)",
        {"x": (3, 8), "z": (8,)},
        ops={**_CORE, "MUL": 3},
    ),
    Case(
        "instance_norm",
        "c = Conv(x, k)\ny = InstanceNormalization <epsilon = 0.01> (c, s, b)",
        _IMAGE,
        {"k": (8, 6, 1, 1), "s": (8,), "b": (8,)},
        ops={**_AFFINE, "CONV_2D": 1},
    ),
    Case(
        "instance_norm_of_a_line_sees_an_image",
        "c = Conv(x, k)\nn = InstanceNormalization(c, s, b)\ny = Conv(n, k)",
        {"x": (2, 6, 9)},
        {"k": (6, 6, 1), "s": (6,), "b": (6,)},
        ops={**_AFFINE, "CONV_2D": 2, "RESHAPE": 2},
    ),
    Case(
        "instance_norm_as_onnx_stores_it",
        "y = InstanceNormalization(x, s, b)",
        {"x": (2, 6, 9)},
        {"s": (6,), "b": (6,)},
        ops=_AFFINE,
    ),
    Case(
        "group_norm_as_torch_exports_it_stays_in_nhwc",
        "c = Conv(x, k)\na = Reshape(c, g)\nn = InstanceNormalization(a, one, zero)\n"
        "r = Reshape(n, w)\nm = Mul(r, s)\ny = Add(m, b)",
        _IMAGE,
        {
            "k": (8, 6, 1, 1),
            "g": ints(2, 4, -1),
            "w": ints(2, 8, 5, 4),
            "one": np.ones(4, np.float32),
            "zero": np.zeros(4, np.float32),
            "s": (8, 1, 1),
            "b": (8, 1, 1),
        },
        ops={**_AFFINE, "CONV_2D": 1, "RESHAPE": 2},
    ),
    Case(
        "group_norm_of_a_line_as_onnx_stores_it",
        "a = Reshape(x, g)\nn = InstanceNormalization(a, s, b)\ny = Reshape(n, w)",
        {"x": (2, 6, 5)},
        {"g": ints(2, 3, 10), "w": ints(2, 6, 5), "s": (3,), "b": (3,)},
        ops={**_AFFINE, "RESHAPE": 2},
    ),
]
