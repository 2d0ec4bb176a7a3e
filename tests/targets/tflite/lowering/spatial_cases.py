"""Cases of the operators that look at height and width."""

from __future__ import annotations

from tests.targets.tflite.lowering.single_op import IMAGE, Case, floats, ints, scalar

CONVOLUTIONS = [
    Case(
        "conv_valid",
        "y = Conv(x, w, b)",
        IMAGE,
        {"w": (6, 4, 3, 3), "b": (6,)},
        ops={"CONV_2D": 1},
    ),
    Case("conv_no_bias", "y = Conv(x, w)", IMAGE, {"w": (6, 4, 3, 2)}, ops={"CONV_2D": 1}),
    Case(
        "conv_same_by_pads",
        "y = Conv <pads = [1,1,1,1]> (x, w, b)",
        IMAGE,
        {"w": (6, 4, 3, 3), "b": (6,)},
        ops={"CONV_2D": 1},
    ),
    Case(
        "conv_stride_2_even_input",
        "y = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w)",
        {"x": (1, 3, 8, 8)},
        {"w": (5, 3, 3, 3)},
        ops={"PAD": 1, "CONV_2D": 1},
    ),
    Case(
        "conv_stride_2_odd_input_is_same",
        "y = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w)",
        {"x": (1, 3, 9, 9)},
        {"w": (5, 3, 3, 3)},
        ops={"CONV_2D": 1},
    ),
    Case(
        "conv_asymmetric_pads",
        "y = Conv <pads = [0,2,1,0]> (x, w)",
        IMAGE,
        {"w": (2, 4, 3, 3)},
        ops={"PAD": 1, "CONV_2D": 1},
    ),
    Case(
        "conv_auto_pad_same_lower",
        'y = Conv <auto_pad = "SAME_LOWER", strides = [2,2]> (x, w)',
        IMAGE,
        {"w": (2, 4, 2, 3)},
    ),
    Case(
        "conv_auto_pad_same_upper",
        'y = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w)',
        IMAGE,
        {"w": (2, 4, 2, 3)},
        ops={"CONV_2D": 1},
    ),
    Case("conv_dilated", "y = Conv <dilations = [2,3]> (x, w)", IMAGE, {"w": (2, 4, 3, 2)}),
    Case(
        "conv_leftover_elements",
        "y = Conv <strides = [3,3]> (x, w)",
        {"x": (1, 2, 10, 11)},
        {"w": (2, 2, 2, 2)},
        ops={"CONV_2D": 1},
    ),
    Case(
        "conv_grouped",
        "y = Conv <group = 2> (x, w)",
        IMAGE,
        {"w": (6, 2, 3, 3)},
        ops={"CONV_2D": 1},
    ),
    Case(
        "conv_depthwise",
        "y = Conv <group = 4, pads = [1,1,1,1]> (x, w, b)",
        IMAGE,
        {"w": (4, 1, 3, 3), "b": (4,)},
        ops={"DEPTHWISE_CONV_2D": 1},
    ),
    Case(
        "conv_depthwise_multiplier_dilated",
        "y = Conv <group = 4, dilations = [2,2]> (x, w)",
        IMAGE,
        {"w": (8, 1, 3, 3)},
        ops={"DEPTHWISE_CONV_2D": 1},
    ),
    Case(
        "conv_fused_relu",
        "c = Conv(x, w)\ny = Relu(c)",
        IMAGE,
        {"w": (2, 4, 1, 1)},
        ops={"CONV_2D": 1},
    ),
    Case(
        "conv_fused_relu6",
        "c = Conv(x, w)\ny = Clip(c, lo, hi)",
        IMAGE,
        {"w": (2, 4, 1, 1), "lo": scalar(0), "hi": scalar(6)},
        ops={"CONV_2D": 1},
    ),
    Case(
        "conv_read_twice_is_not_fused",
        "c = Conv(x, w)\nr = Relu(c)\ny = Add(r, c)",
        IMAGE,
        {"w": (2, 4, 1, 1)},
        ops={"CONV_2D": 1, "RELU": 1, "ADD": 1},
    ),
    Case(
        "transposed_conv_stride_2",
        "y = ConvTranspose <strides = [2,2]> (x, w, b)",
        IMAGE,
        {"w": (4, 3, 2, 2), "b": (3,)},
        ops={"TRANSPOSE_CONV": 1},
    ),
    Case(
        "transposed_conv_same",
        "y = ConvTranspose <strides = [2,2], pads = [1,1,1,1]> (x, w)",
        IMAGE,
        {"w": (4, 3, 4, 4)},
        ops={"TRANSPOSE_CONV": 1},
    ),
    Case(
        "transposed_conv_output_padding",
        "y = ConvTranspose <strides = [2,2], pads = [1,1,1,1], output_padding = [1,1]> (x, w)",
        IMAGE,
        {"w": (4, 3, 3, 3)},
        ops={"TRANSPOSE_CONV": 1, "SLICE": 1},
    ),
    Case(
        "transposed_conv_stride_1_cropped",
        "y = ConvTranspose <pads = [1,1,1,1]> (x, w)",
        IMAGE,
        {"w": (4, 3, 3, 3)},
        ops={"TRANSPOSE_CONV": 1},
    ),
    Case(
        "transposed_conv_grouped_dilated",
        "y = ConvTranspose <group = 2, dilations = [2,1], strides = [3,2]> (x, w, b)",
        IMAGE,
        {"w": (4, 3, 2, 3), "b": (6,)},
    ),
]

POOLS = [
    Case(
        "max_pool",
        "y = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)",
        IMAGE,
        ops={"MAX_POOL_2D": 1},
    ),
    Case(
        "max_pool_padded_signed",
        "y = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (x)",
        {"x": (1, 3, 8, 8)},
        ops={"PADV2": 1, "MAX_POOL_2D": 1},
    ),
    Case(
        "max_pool_padded_after_relu",
        "r = Relu(x)\ny = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (r)",
        {"x": (1, 3, 8, 8)},
        ops={"RELU": 1, "PAD": 1, "MAX_POOL_2D": 1},
    ),
    Case(
        "max_pool_ceil",
        "y = MaxPool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)",
        {"x": (1, 3, 10, 10)},
    ),
    Case(
        "average_pool",
        "y = AveragePool <kernel_shape = [2,3], strides = [2,1]> (x)",
        IMAGE,
        ops={"AVERAGE_POOL_2D": 1},
    ),
    Case(
        "average_pool_same_excludes_padding",
        "y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1]> (x)",
        IMAGE,
        ops={"AVERAGE_POOL_2D": 1},
    ),
    Case(
        "average_pool_counts_padding",
        "y = AveragePool <kernel_shape = [3,3], pads = [1,1,1,1], count_include_pad = 1> (x)",
        IMAGE,
        ops={"PAD": 1, "AVERAGE_POOL_2D": 1},
    ),
    Case(
        "average_pool_divisor_corrected",
        "y = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (x)",
        {"x": (1, 2, 8, 8)},
        ops={"PAD": 1, "AVERAGE_POOL_2D": 1, "MUL": 1},
    ),
    Case(
        "average_pool_ceil",
        "y = AveragePool <kernel_shape = [3,3], strides = [2,2], ceil_mode = 1> (x)",
        {"x": (1, 2, 8, 8)},
    ),
    Case("global_average_pool", "y = GlobalAveragePool(x)", IMAGE, ops={"MEAN": 1}),
    Case("global_max_pool", "y = GlobalMaxPool(x)", IMAGE, ops={"REDUCE_MAX": 1}),
]

RESIZES = [
    *(
        Case(
            f"resize_linear_{mode}_{name}",
            f'y = Resize <mode = "linear", coordinate_transformation_mode = "{mode}"> (x,,, s)',
            {"x": (1, 3, 5, 6)},
            {"s": sizes},
            ops={"RESIZE_BILINEAR": 1},
        )
        for mode in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for name, sizes in (("up", ints(1, 3, 10, 12)), ("odd", ints(1, 3, 7, 4)))
    ),
    *(
        Case(
            f"resize_nearest_{mode}_{rounding}_{name}",
            f'y = Resize <mode = "nearest", coordinate_transformation_mode = "{mode}", '
            f'nearest_mode = "{rounding}"> (x,,, s)',
            {"x": (1, 3, 5, 6)},
            {"s": sizes},
        )
        for mode in ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
        for name, sizes in (("up", ints(1, 3, 10, 12)), ("odd", ints(1, 3, 7, 4)))
    ),
    Case(
        "resize_nearest_torch_upsample_is_native",
        'y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", '
        'nearest_mode = "floor"> (x,, s)',
        {"x": (1, 3, 5, 6)},
        {"s": floats(1, 1, 2, 2)},
        ops={"RESIZE_NEAREST_NEIGHBOR": 1},
    ),
]

LINE = {"x": (2, 4, 11)}

LINES = [
    Case(
        "line_conv",
        "y = Conv(x, w, b)",
        LINE,
        {"w": (6, 4, 3), "b": (6,)},
        ops={"RESHAPE": 2, "CONV_2D": 1},
    ),
    Case(
        "line_conv_strided_dilated_padded",
        "y = Conv <pads = [3,1], strides = [2], dilations = [2]> (x, w)",
        LINE,
        {"w": (6, 4, 3)},
        ops={"RESHAPE": 2, "PAD": 1, "CONV_2D": 1},
    ),
    Case(
        "line_conv_grouped",
        'y = Conv <auto_pad = "SAME_UPPER", group = 2> (x, w)',
        LINE,
        {"w": (6, 2, 3)},
        ops={"RESHAPE": 2, "CONV_2D": 1},
    ),
    Case(
        "line_chain_is_reshaped_at_its_ends_only",
        "a = Conv <pads = [1,1]> (x, k)\nr = Relu(a)\ns = Sigmoid(r)\nm = Mul(r, s)\n"
        "d = Conv <group = 6, pads = [1,1]> (m, e)\nn = Mul(d, f)\nu = Add(n, r)\n"
        "p = MaxPool <kernel_shape = [2], strides = [2]> (u)\nc = Concat <axis = 1> (p, p)\n"
        "y = Conv(c, l)",
        LINE,
        {"k": (6, 4, 3), "e": (6, 1, 3), "f": (6, 1), "l": (3, 12, 1)},
        ops={
            "RESHAPE": 2,
            "CONV_2D": 2,
            "LOGISTIC": 1,
            "MUL": 2,
            "DEPTHWISE_CONV_2D": 1,
            "ADD": 1,
            "MAX_POOL_2D": 1,
            "CONCATENATION": 1,
        },
    ),
    Case(
        "line_transposes_cancel",
        "t = Transpose <perm = [0,2,1]> (x)\nc = Conv(t, k)\nr = Tanh(c)\n"
        "y = Transpose <perm = [0,2,1]> (r)",
        LINE,
        {"k": (5, 11, 1)},
        ops={"RESHAPE": 2, "CONV_2D": 1, "TANH": 1},
    ),
    Case(
        "line_split_and_softmax",
        "c = Conv(x, k)\na, b = Split <axis = 1, num_outputs = 2> (c)\nd = Sub(a, b)\n"
        "y = Softmax <axis = 1> (d)",
        LINE,
        {"k": (6, 4, 3)},
        ops={"RESHAPE": 2, "CONV_2D": 1, "SPLIT": 1, "SUB": 1, "SOFTMAX": 1},
    ),
    Case(
        "line_added_to_a_plain_value",
        "c = Conv <pads = [1,1]> (x, k)\ny = Add(c, z)",
        {**LINE, "z": (2, 4, 11)},
        {"k": (4, 4, 3)},
    ),
    Case(
        "line_added_to_a_vector",
        "c = Conv <pads = [1,1]> (x, k)\ny = Add(c, z)",
        {**LINE, "z": (11,)},
        {"k": (4, 4, 3)},
    ),
    Case(
        "line_flattened",
        "c = Conv(x, k)\nr = Relu(c)\nf = Flatten(r)\ny = Gemm(f, w)",
        LINE,
        {"k": (3, 4, 3), "w": (27, 5)},
        ops={"RESHAPE": 2, "CONV_2D": 1, "FULLY_CONNECTED": 1},
    ),
    Case(
        "line_transposed_conv",
        "y = ConvTranspose <strides = [3], pads = [1,1], output_padding = [1]> (x, w, b)",
        LINE,
        {"w": (4, 3, 5), "b": (3,)},
        ops={"RESHAPE": 2, "TRANSPOSE_CONV": 1, "SLICE": 1},
    ),
    Case(
        "line_transposed_conv_grouped_dilated",
        "y = ConvTranspose <group = 2, dilations = [2], strides = [2]> (x, w)",
        LINE,
        {"w": (4, 3, 2)},
    ),
    Case(
        "line_max_pool_padded",
        "y = MaxPool <kernel_shape = [3], strides = [2], pads = [1,1]> (x)",
        {"x": (1, 3, 8)},
        ops={"RESHAPE": 2, "PADV2": 1, "MAX_POOL_2D": 1},
    ),
    Case(
        "line_average_pool_divisor_corrected",
        "y = AveragePool <kernel_shape = [3], strides = [2], pads = [1,1]> (x)",
        {"x": (1, 3, 8)},
        ops={"RESHAPE": 2, "PAD": 1, "AVERAGE_POOL_2D": 1, "MUL": 1},
    ),
    Case(
        "line_average_pool_ceil",
        "y = AveragePool <kernel_shape = [3], strides = [2], ceil_mode = 1> (x)",
        {"x": (1, 3, 10)},
    ),
    Case(
        "line_global_pools",
        "a = GlobalAveragePool(x)\nb = GlobalMaxPool(x)\nc = Add(a, b)\ny = Flatten(c)",
        LINE,
        ops={"RESHAPE": 2, "MEAN": 1, "REDUCE_MAX": 1, "ADD": 1},
    ),
]
