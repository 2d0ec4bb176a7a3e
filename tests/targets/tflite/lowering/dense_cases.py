"""Cases of linear, elementwise, shape and reduction operators."""

from __future__ import annotations

import numpy as np

from tests.targets.tflite.lowering.single_op import IMAGE, Case, floats, ints, scalar

LINEAR = [
    Case(
        "gemm",
        "y = Gemm <transB = 1> (x, w, b)",
        {"x": (3, 8)},
        {"w": (5, 8), "b": (5,)},
        ops={"FULLY_CONNECTED": 1},
    ),
    Case(
        "gemm_scaled",
        "y = Gemm <alpha = 0.5, beta = 2.0> (x, w, b)",
        {"x": (3, 8)},
        {"w": (8, 5), "b": (1,)},
        ops={"FULLY_CONNECTED": 1},
    ),
    Case(
        "gemm_fused_relu",
        "g = Gemm(x, w)\ny = Relu(g)",
        {"x": (2, 8)},
        {"w": (8, 5)},
        ops={"FULLY_CONNECTED": 1},
    ),
    Case(
        "matmul_rank_2",
        "y = MatMul(x, w)",
        {"x": (3, 8)},
        {"w": (8, 5)},
        ops={"FULLY_CONNECTED": 1},
    ),
    Case(
        "matmul_rank_3",
        "y = MatMul(x, w)",
        {"x": (2, 3, 8)},
        {"w": (8, 5)},
        ops={"FULLY_CONNECTED": 1},
    ),
    Case(
        "flatten_permutes_weights",
        "c = Conv(x, k)\nf = Flatten(c)\ny = Gemm(f, w)",
        {"x": (1, 3, 6, 7)},
        {"k": (4, 3, 3, 3), "w": (80, 5)},
        ops={"CONV_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1},
    ),
    Case(
        "flatten_read_by_others_is_transposed",
        "c = Conv(x, k)\nf = Flatten(c)\ng = Gemm(f, w)\ns = ReduceSum(f, a)\ny = Add(g, s)",
        {"x": (1, 3, 6, 7)},
        {"k": (4, 3, 3, 3), "w": (80, 5), "a": ints(1)},
        ops={"CONV_2D": 1, "TRANSPOSE": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1, "SUM": 1, "ADD": 1},
    ),
]

SHAPES = [
    Case(
        "channel_shuffle_stays_nhwc",
        "c = Conv(x, k)\na = Reshape(c, s)\nt = Transpose <perm = [0,2,1,3,4]> (a)\n"
        "b = Reshape(t, r)\ny = Conv(b, k2)",
        {"x": (1, 3, 6, 7)},
        {"k": (8, 3, 1, 1), "k2": (2, 8, 1, 1), "s": ints(1, 2, 4, 6, 7), "r": ints(1, 8, 6, 7)},
        ops={"CONV_2D": 2, "RESHAPE": 2, "TRANSPOSE": 1},
    ),
    Case(
        "squeeze_and_excite",
        "c = Conv(x, k)\ng = GlobalAveragePool(c)\nf = Flatten(g)\nd = Gemm(f, w)\n"
        "s = Sigmoid(d)\nu = Unsqueeze(s, a)\ny = Mul(c, u)",
        {"x": (1, 3, 6, 7)},
        {"k": (8, 3, 1, 1), "w": (8, 8), "a": ints(2, 3)},
        ops={"CONV_2D": 1, "MEAN": 1, "RESHAPE": 2, "FULLY_CONNECTED": 1, "LOGISTIC": 1, "MUL": 1},
    ),
    Case(
        "detector_head",
        "c = Conv(x, k)\nt = Transpose <perm = [0,2,3,1]> (c)\ny = Reshape(t, s)",
        {"x": (1, 3, 6, 7)},
        {"k": (8, 3, 1, 1), "s": ints(1, -1, 4)},
        ops={"CONV_2D": 1, "RESHAPE": 1},
    ),
    Case(
        "transpose_rank_3",
        "y = Transpose <perm = [2,0,1]> (x)",
        {"x": (2, 3, 4)},
        ops={"TRANSPOSE": 1},
    ),
    Case(
        "transpose_rank_5",
        "y = Transpose <perm = [4,1,0,2,3]> (x)",
        {"x": (2, 3, 4, 2, 3)},
        ops={"TRANSPOSE": 1},
    ),
    Case(
        "expand_rank",
        "y = Expand(x, s)",
        {"x": (3, 1)},
        {"s": ints(2, 1, 4)},
        ops={"BROADCAST_TO": 1},
    ),
    Case(
        "expand_channels_nhwc",
        "c = Conv(x, k)\ne = Expand(c, s)\ny = Conv(e, l)",
        {"x": (1, 3, 6, 7)},
        {"k": (1, 3, 1, 1), "s": ints(1, 4, 1, 1), "l": (2, 4, 1, 1)},
        ops={"CONV_2D": 2, "BROADCAST_TO": 1},
    ),
    Case("squeeze", "y = Squeeze(x, a)", {"x": (2, 1, 4, 1)}, {"a": ints(1, 3)}),
    Case("reshape_split", "y = Reshape(x, s)", {"x": (2, 12)}, {"s": ints(0, 3, 4)}),
    Case(
        "dropout_and_identity",
        "d = Dropout(x)\ny = Identity(d)",
        {"x": (2, 3)},
        ops={"RESHAPE": 1},
    ),
    Case(
        "concat_channels",
        "a = Conv(x, k)\nb = Relu(a)\ny = Concat <axis = 1> (a, b)",
        IMAGE,
        {"k": (2, 4, 1, 1)},
    ),
    Case("concat_with_constant", "y = Concat <axis = -1> (x, c)", {"x": (2, 3)}, {"c": (2, 2)}),
    Case(
        "split_equal",
        "y0, y1 = Split <axis = 1, num_outputs = 2> (x)",
        IMAGE,
        outputs=("y0", "y1"),
        ops={"SPLIT": 1},
    ),
    Case(
        "split_unequal",
        "y0, y1 = Split <axis = 1> (x, s)",
        IMAGE,
        {"s": ints(1, 3)},
        outputs=("y0", "y1"),
        ops={"SLICE": 2},
    ),
    Case(
        "split_into_many",
        "c = Conv(x, k)\ny0, y1, y2, y3, y4 = Split <axis = 1, num_outputs = 5> (c)",
        IMAGE,
        {"k": (10, 4, 1, 1)},
        outputs=("y0", "y1", "y2", "y3", "y4"),
        ops={"CONV_2D": 1, "SLICE": 5},
    ),
    Case(
        "slice_channels",
        "c = Conv(x, k)\ny = Slice(c, b, e, a)",
        IMAGE,
        {"k": (6, 4, 1, 1), "b": ints(1), "e": ints(-1), "a": ints(1)},
    ),
    Case(
        "slice_strided",
        "y = Slice(x, b, e, a, s)",
        IMAGE,
        {"b": ints(1, 0), "e": ints(9, 99), "a": ints(2, 3), "s": ints(2, 3)},
    ),
    Case(
        "slice_backwards",
        "c = Conv(x, k)\ny = Slice(c, b, e, a, s)",
        IMAGE,
        {
            "k": (6, 4, 1, 1),
            "b": ints(-1, 8),
            "e": ints(-1000, 2),
            "a": ints(1, -1),
            "s": ints(-1, -2),
        },
        ops={"CONV_2D": 1, "GATHER": 2},
    ),
    Case("pad_zero", "y = Pad(x, p)", IMAGE, {"p": ints(0, 1, 2, 3, 0, 0, 1, 2)}, ops={"PAD": 1}),
    Case(
        "pad_option_a_shortcut",
        "c = Conv(x, k)\ny = Pad(c, p, v, a)",
        IMAGE,
        {"k": (2, 4, 1, 1), "p": ints(3, 3), "v": scalar(0), "a": ints(1)},
        ops={"CONV_2D": 1, "PAD": 1},
    ),
    Case(
        "pad_constant",
        "y = Pad(x, p, v)",
        IMAGE,
        {"p": ints(0, 0, 1, 1, 0, 0, 1, 1), "v": scalar(-2.5)},
        ops={"PADV2": 1},
    ),
    Case(
        "pad_reflect",
        'y = Pad <mode = "reflect"> (x, p)',
        IMAGE,
        {"p": ints(0, 0, 1, 2, 0, 0, 2, 1)},
        ops={"MIRROR_PAD": 1},
    ),
    Case("gather_vector", "y = Gather <axis = 1> (x, i)", IMAGE, {"i": ints(3, 0, -2)}),
    *(
        Case(
            f"gather_matrix_{axis}",
            f"c = Conv(x, k)\ny = Gather <axis = {axis}> (c, i)",
            IMAGE,
            {"k": (2, 4, 1, 1), "i": ints(0, 0, 0, -1, 0, 0).reshape(3, 2)},
        )
        for axis in range(4)
    ),
    Case("gather_scalar", "y = Gather <axis = 1> (x, i)", IMAGE, {"i": np.array(2, np.int64)}),
    Case("depth_to_space_dcr", "y = DepthToSpace <blocksize = 2> (x)", {"x": (1, 8, 3, 4)}),
    Case(
        "depth_to_space_crd",
        'y = DepthToSpace <blocksize = 2, mode = "CRD"> (x)',
        {"x": (1, 8, 3, 4)},
    ),
    Case("space_to_depth", "y = SpaceToDepth <blocksize = 2> (x)", {"x": (1, 2, 4, 6)}),
]

ELEMENTWISE = [
    *(
        Case(f"binary_{op.lower()}", f"y = {op}(x, z)", {"x": (1, 4, 3, 5), "z": (1, 4, 3, 5)})
        for op in ("Add", "Sub", "Mul", "Max", "Min")
    ),
    Case(
        "binary_div", "y = Div(x, c)", IMAGE, {"c": floats(2.0, -3.0, 0.5, 1.0).reshape(4, 1, 1)}
    ),
    Case(
        "broadcast_channel_constant_nhwc",
        "c = Conv(x, k)\ny = Add(c, b)",
        IMAGE,
        {"k": (6, 4, 1, 1), "b": (6, 1, 1)},
        ops={"CONV_2D": 1, "ADD": 1},
    ),
    Case(
        "broadcast_width_constant_nhwc",
        "c = Conv(x, k)\ny = Mul(c, b)",
        IMAGE,
        {"k": (6, 4, 1, 1), "b": (10,)},
    ),
    Case(
        "broadcast_lower_rank_activation",
        "c = Conv(x, k)\ny = Add(c, z)",
        {**IMAGE, "z": (6, 1, 1)},
        {"k": (6, 4, 1, 1)},
    ),
    Case("broadcast_constant_of_higher_rank", "y = Add(x, c)", {"x": (3, 4)}, {"c": (1, 3, 4)}),
    Case("broadcast_scalar", "y = Mul(x, c)", IMAGE, {"c": scalar(0.25)}),
    Case(
        "add_fused_relu", "a = Add(x, z)\ny = Relu(a)", {"x": (2, 3), "z": (2, 3)}, ops={"ADD": 1}
    ),
    Case(
        "sum_of_three", "y = Sum(x, z, c)", {"x": (2, 3), "z": (3,)}, {"c": (2, 1)}, ops={"ADD": 2}
    ),
    Case("max_of_one", "y = Max(x)", {"x": (2, 3)}),
    Case("pow_square", "y = Pow(x, c)", IMAGE, {"c": scalar(2)}, ops={"MUL": 1}),
    Case("pow_cube", "y = Pow(x, c)", IMAGE, {"c": scalar(3)}),
    Case(
        "pow_root",
        "a = Abs(x)\ny = Pow(a, c)",
        IMAGE,
        {"c": scalar(0.5)},
        ops={"ABS": 1, "SQRT": 1},
    ),
    *(
        Case(f"unary_{op.lower()}", f"y = {op}(x)", IMAGE)
        for op in (
            "Abs",
            "Ceil",
            "Cos",
            "Exp",
            "Floor",
            "Neg",
            "Round",
            "Sigmoid",
            "Sign",
            "Sin",
            "Tanh",
        )
    ),
    Case("unary_sqrt", "a = Abs(x)\ny = Sqrt(a)", IMAGE),
    Case("unary_log", "a = Exp(x)\ny = Log(a)", IMAGE),
    Case("reciprocal", "a = Exp(x)\ny = Reciprocal(a)", IMAGE),
    Case("cast_and_back", "i = Cast <to = 6> (x)\ny = Cast <to = 1> (i)", IMAGE, ops={"CAST": 2}),
    Case("relu", "y = Relu(x)", IMAGE, ops={"RELU": 1}),
    Case("clip_one_side", "y = Clip(x, c)", IMAGE, {"c": scalar(-1.5)}),
    Case("clip_no_bounds", "n = Neg(x)\ny = Clip(n)", IMAGE),
    *(
        Case(
            f"clip_{low}_{high}",
            "y = Clip(x, lo, hi)",
            IMAGE,
            {"lo": scalar(low), "hi": scalar(high)},
        )
        for low, high in ((0, 6), (-1, 1), (0, 1), (-0.5, 2))
    ),
    Case("hard_swish", "y = HardSwish(x)", IMAGE, ops={"HARD_SWISH": 1}),
    Case(
        "hard_sigmoid_torch",
        "y = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)",
        IMAGE,
        ops={"ADD": 1, "MUL": 1},
    ),
    Case("hard_sigmoid_default", "y = HardSigmoid(x)", IMAGE, ops={"ADD": 1, "MUL": 2}),
    Case("gelu_exact", "y = Gelu(x)", IMAGE, ops={"GELU": 1}),
    Case("gelu_tanh", 'y = Gelu <approximate = "tanh"> (x)', IMAGE, ops={"GELU": 1}),
    Case("leaky_relu", "y = LeakyRelu <alpha = 0.2> (x)", IMAGE),
    Case("elu", "y = Elu(x)", IMAGE),
    Case(
        "prelu",
        "c = Conv(x, k)\ny = PRelu(c, s)",
        IMAGE,
        {"k": (6, 4, 1, 1), "s": (6, 1, 1)},
        ops={"CONV_2D": 1, "PRELU": 1},
    ),
    Case("silu", "s = Sigmoid(x)\ny = Mul(x, s)", IMAGE, ops={"LOGISTIC": 1, "MUL": 1}),
]

REDUCTIONS = [
    Case("softmax_last", "y = Softmax(x)", {"x": (2, 5)}, ops={"SOFTMAX": 1}),
    Case(
        "softmax_channels_nhwc",
        "c = Conv(x, k)\ny = Softmax <axis = 1> (c)",
        IMAGE,
        {"k": (3, 4, 1, 1)},
        ops={"CONV_2D": 1, "SOFTMAX": 1},
    ),
    Case("softmax_rows", "y = Softmax <axis = 2> (x)", {"x": (2, 3, 4)}),
    Case("log_softmax", "y = LogSoftmax(x)", {"x": (2, 5)}, ops={"LOG_SOFTMAX": 1}),
    Case(
        "reduce_mean_spatial_nhwc",
        "c = Conv(x, k)\ny = ReduceMean <keepdims = 0> (c, a)",
        IMAGE,
        {"k": (3, 4, 1, 1), "a": ints(2, 3)},
        ops={"CONV_2D": 1, "MEAN": 1},
    ),
    *(
        Case(
            f"reduce_{op.lower()}",
            f"y = Reduce{op} <keepdims = 1> (x, a)",
            IMAGE,
            {"a": ints(1, -1)},
        )
        for op in ("Max", "Mean", "Min", "Prod", "Sum")
    ),
    *(
        Case(
            f"reduce_{norm.lower()}",
            f"c = Conv(x, k)\ny = Reduce{norm} <keepdims = {keep}> (c, a)",
            IMAGE,
            {"k": (3, 4, 1, 1), "a": ints(1, 3)},
        )
        for norm in ("L1", "L2", "SumSquare")
        for keep in (0, 1)
    ),
    Case("reduce_all", "y = ReduceSum(x)", IMAGE),
    *(
        Case(f"reduce_{op.lower()}_to_scalar", f"y = Reduce{op} <keepdims = 0> (x)", IMAGE)
        for op in ("Max", "Mean", "Sum")
    ),
    *(
        Case(f"softmax_axis_{axis}", f"y = Softmax <axis = {axis}> (x)", IMAGE)
        for axis in range(4)
    ),
    *(
        Case(
            f"gather_scalar_{axis}",
            f"c = Conv(x, k)\ny = Gather <axis = {axis}> (c, i)",
            IMAGE,
            {"k": (2, 4, 1, 1), "i": np.array(0, np.int64)},
        )
        for axis in range(4)
    ),
    Case(
        "matmul_of_an_image",
        "c = Conv(x, k)\ny = MatMul(c, w)",
        IMAGE,
        {"k": (2, 4, 1, 1), "w": (10, 3)},
    ),
    Case("reduce_nothing", "n = Neg(x)\ny = ReduceSum <noop_with_empty_axes = 1> (n)", IMAGE),
    Case("arg_max", "i = ArgMax <axis = 1, keepdims = 0> (x)\ny = Cast <to = 1> (i)", IMAGE),
    Case("arg_min_keeps_dims", "i = ArgMin <axis = 1> (x)\ny = Cast <to = 1> (i)", IMAGE),
]
