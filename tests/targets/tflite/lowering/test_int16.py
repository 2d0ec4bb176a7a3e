"""16-bit activations with 8-bit weights: LiteRT within a few of 65,536 steps of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from tests.targets.tflite.lowering.single_op import (
    Array,
    build,
    ints,
    operator_counts,
    run_litert,
    run_onnxruntime,
    scalar,
)
from tests.targets.tflite.lowering.test_quantized import Quantized, check_quantized, qdq

IMAGE = {"x": (1, 4, 9, 10)}
TWO = {**IMAGE, "z": (1, 4, 9, 10)}
EVEN = {"x": (1, 4, 8, 8)}
PLAIN = (3 / 32767, 0)
CONV = ((6, 4, 3, 3), 0, 6)
TABLE = {"CAST": 1, "SUB": 1, "GATHER": 1}
ABS = (
    "af = Abs(x)\nai = QuantizeLinear(af, in_scale, in_zero)\n"
    "a = DequantizeLinear(ai, in_scale, in_zero)\n"
)
"""``a``, which is never negative."""


def wide(
    name: str,
    body: str,
    inputs: Mapping[str, Sequence[int | str]],
    limit: float | None = None,
    ops: Mapping[str, int] | None = None,
    *,
    weights: tuple[tuple[int, ...], int, int] | None = None,
    constants: Mapping[str, Sequence[int] | Array] | None = None,
    lsb: int = 1,
) -> Quantized:
    """A case on int16 whose result spans ``-limit..limit``, or has the scale of the inputs."""
    output = None if limit is None else (limit / 32767, 0)
    return Quantized(
        name, body, inputs, weights, constants or {}, output, ops or {}, "int16", PLAIN, lsb
    )


LAYERS = [
    wide("conv", "v = Conv(x, w, b)", IMAGE, 20, {"CONV_2D": 1}, weights=CONV),
    wide(
        "conv_relu_padded",
        "c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)\nv = Relu(c)",
        EVEN, 20, {"PAD": 1, "CONV_2D": 1}, weights=CONV,
    ),
    wide("conv_no_bias", "v = Conv(x, w)", IMAGE, 20, {"CONV_2D": 1}, weights=CONV),
    wide(
        "grouped_conv", "v = Conv <group = 2> (x, w, b)", IMAGE, 20, {"CONV_2D": 1},
        weights=((6, 2, 3, 3), 0, 6),
    ),
    wide(
        "depthwise", "v = Conv <group = 4> (x, w, b)", IMAGE, 8, {"DEPTHWISE_CONV_2D": 1},
        weights=((8, 1, 3, 3), 0, 8),
    ),
    wide(
        "transposed_conv", "v = ConvTranspose <strides = [2,2]> (x, w, b)", IMAGE, 12,
        {"TRANSPOSE_CONV": 1}, weights=((4, 3, 2, 2), 1, 3),
    ),
    wide(
        "gemm", "g = Gemm <transB = 1> (x, w, b)\nv = Relu(g)", {"x": (2, 16)}, 12,
        {"FULLY_CONNECTED": 1}, weights=((5, 16), 0, 5),
    ),
    wide(
        "gemm_no_bias", "v = Gemm <transB = 1> (x, w)", {"x": (2, 16)}, 12,
        {"FULLY_CONNECTED": 1}, weights=((5, 16), 0, 5),
    ),
    wide(
        "matmul_with_bias", "m = MatMul(x, w)\nv = Add(m, b)", {"x": (2, 3, 16)}, 12,
        {"FULLY_CONNECTED": 1}, weights=((16, 5), 1, 5),
    ),
]  # fmt: skip
ARITHMETIC = [
    wide("add", "v = Add(x, z)", TWO, 6, {"ADD": 1}),
    wide("add_relu", "a = Add(x, z)\nv = Relu(a)", TWO, 5, {"ADD": 1}),
    wide("sub", "v = Sub(x, z)", {**IMAGE, "z": (4, 1, 1)}, 6, {"SUB": 1}),
    wide("mul", "v = Mul(x, z)", {**IMAGE, "z": (1, 4, 1, 1)}, 9, {"MUL": 1}),
    wide("div", "v = Div(x, z)", TWO, 50, {"EQUAL": 1, "SELECT_V2": 1, "DIV": 1}),
    wide(
        "div_by_what_is_not_negative", f"{ABS}v = Div(z, a)",
        TWO, 50, {"ABS": 1, "MAXIMUM": 1, "DIV": 1},
    ),
    wide(
        "add_of_a_constant", "k = DequantizeLinear(ki, in_scale, in_zero)\nv = Add(k, x)", IMAGE,
        5, {"ADD": 1}, constants={"ki": np.arange(-9000, 9000, 4500, np.int16).reshape(4, 1, 1)},
    ),
    wide("neg", "v = Neg(x)", IMAGE, 3.5, {"MUL": 1}),
    wide("maximum", "v = Max(x, z)", TWO, None, {"MAXIMUM": 1}),
    wide("minimum_with_another_scale", "v = Min(x, z)", TWO, 2, {"MINIMUM": 1, "QUANTIZE": 2}),
]  # fmt: skip
FUNCTIONS = [
    wide("relu", "v = Relu(x)", IMAGE, 2.9, {"RELU": 1}),
    wide("relu6", "v = Clip(x, a, b)", IMAGE, 3, {"RELU6": 1},
         constants={"a": scalar(0), "b": scalar(6)}),
    wide("clip", "v = Clip(x, a, b)", IMAGE, None, {"MAXIMUM": 1, "MINIMUM": 1},
         constants={"a": scalar(-1), "b": scalar(1)}),
    wide("clip_with_another_scale", "v = Clip(x, a, b)", IMAGE, 1, {"QUANTIZE": 1, "MAXIMUM": 1},
         constants={"a": scalar(-0.7), "b": scalar(1)}),
    wide("leaky_relu", "v = LeakyRelu <alpha = 0.2> (x)", IMAGE, 3, {"LEAKY_RELU": 1}),
    wide(
        "prelu", "w = DequantizeLinear(ki, k_scale, in_zero)\nv = PRelu(x, w)", IMAGE, 3,
        {"MUL": 1, "MAXIMUM": 1},
        constants={"ki": np.array([-9000, 4000, 32767, 1], np.int16).reshape(4, 1, 1),
                   "k_scale": scalar(1 / 32767)},
    ),
    wide("abs", "v = Abs(x)", IMAGE, 3, {"ABS": 1}),
    wide("sigmoid", "v = Sigmoid(x)", IMAGE, 32767 / 32768, {"LOGISTIC": 1}),
    wide("tanh", "v = Tanh(x)", IMAGE, 32767 / 32768, {"TANH": 1}, lsb=3),
    replace(wide("sigmoid_of_1_over_4096", "v = Sigmoid(x)", IMAGE, 32767 / 32768, TABLE),
            source=(1 / 4096, 0)),
    replace(wide("tanh_of_nearly_1_over_2048", "v = Tanh(x)", IMAGE, 32767 / 32768, TABLE),
            source=(1.0006 / 2048, 0)),
    wide("softmax", "v = Softmax(x)", {"x": (2, 10)}, 32767 / 32768, {"SOFTMAX": 1}, lsb=3),
    wide("exp", "v = Exp(x)", IMAGE, 20.09, {"EXP": 1}, lsb=4),
    wide("exp_beyond_the_range", "v = Exp(x)", IMAGE, 15, TABLE),
    wide("gelu", "v = Gelu(x)", IMAGE, 3, {"GELU": 1}, lsb=4),
    wide("gelu_beyond_the_range", "v = Gelu(x)", IMAGE, 2.5, TABLE),
    wide("tanh_gelu", 'v = Gelu <approximate = "tanh"> (x)', IMAGE, 3, {"GELU": 1}, lsb=4),
    wide("elu", "v = Elu(x)", IMAGE, 3, TABLE),
    wide("square", "v = Pow(x, e)", IMAGE, 9, {"MUL": 1}, constants={"e": scalar(2)}),
    wide("sqrt", f"{ABS}v = Sqrt(a)", IMAGE, 1.8, {"ABS": 1, "SQRT": 1}),
    wide("inverse_root_of_similar_numbers", f"{ABS}v = Pow(a, e)", IMAGE, 10,
         {"ABS": 1, "MAXIMUM": 1, "DIV": 1, "SQRT": 1}, constants={"e": scalar(-0.5)}, lsb=6),
    wide("inverse_root", f"{ABS}v = Pow(a, e)", IMAGE, 50, {"ABS": 1, **TABLE},
         constants={"e": scalar(-0.5)}),
    wide("reciprocal", "v = Reciprocal(x)", IMAGE, 20, TABLE),
    wide("hard_swish", "v = HardSwish(x)", IMAGE, 3, {"MUL": 2, "ADD": 1}, lsb=2),
    wide("hard_sigmoid", "v = HardSigmoid <alpha = 0.25, beta = 0.4> (x)", IMAGE, 1,
         {"MUL": 1, "ADD": 1}),
    wide("hard_sigmoid_with_another_scale", "v = HardSigmoid(x)", IMAGE, 0.9,
         {"MUL": 1, "ADD": 1, "QUANTIZE": 1}),
]  # fmt: skip
POOLS = [
    wide("max_pool", "v = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)", IMAGE, None,
         {"MAX_POOL_2D": 1}),
    wide("max_pool_padded",
         "v = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (x)", EVEN, None,
         {"PADV2": 1, "MAX_POOL_2D": 1}),
    wide("average_pool", "v = AveragePool <kernel_shape = [2,2], strides = [2,2]> (x)", IMAGE,
         None, {"AVERAGE_POOL_2D": 1}),
    wide("mean", "v = GlobalAveragePool(x)", IMAGE, 2, {"MEAN": 1}),
    wide("mean_of_channels", "v = ReduceMean(x, k)", IMAGE, 3, {"MEAN": 1},
         constants={"k": ints(1)}),
    wide("sum", "v = ReduceSum(x, k)", IMAGE, 60, {"SUM": 1}, constants={"k": ints(2, 3)}),
    wide("max_of_channels", "v = ReduceMax(x, k)", IMAGE, 2, {"REDUCE_MAX": 1, "QUANTIZE": 1},
         constants={"k": ints(1)}),
]  # fmt: skip
MOVEMENT = [
    wide("concat", "v = Concat <axis = 1> (x, x)", IMAGE, None, {"CONCATENATION": 1}),
    wide("reshape", "v = Reshape(x, s)", {"x": (2, 12)}, None, {"RESHAPE": 1},
         constants={"s": ints(2, 3, 4)}),
    wide("transpose", "v = Transpose <perm = [0,2,1]> (x)", {"x": (2, 3, 4)}, None,
         {"TRANSPOSE": 1}),
    wide("pad", "v = Pad(x, p)", IMAGE, None, {"PAD": 1},
         constants={"p": ints(0, 1, 2, 3, 0, 0, 1, 2)}),
    wide("pad_with_a_number", "v = Pad(x, p, f)", IMAGE, None, {"PADV2": 1},
         constants={"p": ints(0, 0, 1, 1, 0, 0, 1, 2), "f": scalar(-1.3)}),
    wide("pad_by_reflection", 'v = Pad <mode = "reflect"> (x, p)', IMAGE, None, {"MIRROR_PAD": 1},
         constants={"p": ints(0, 0, 1, 1, 0, 0, 1, 2)}),
    wide("pad_with_edges", 'v = Pad <mode = "edge"> (x, p)', IMAGE, None, {"GATHER": 2},
         constants={"p": ints(0, 0, 1, 1, 0, 0, 1, 2)}),
    wide("resize_nearest",
         'v = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", '
         'nearest_mode = "floor"> (x,, s)', IMAGE, None, {"RESIZE_NEAREST_NEIGHBOR": 1},
         constants={"s": np.array([1, 1, 2, 2], np.float32)}),
    wide("resize_linear", 'v = Resize <mode = "linear"> (x,, s)', IMAGE, None,
         {"RESIZE_BILINEAR": 1}, constants={"s": np.array([1, 1, 2, 2], np.float32)}),
    wide("slice", "v = Slice(x, a, b, c)", IMAGE, None, {"SLICE": 1},
         constants={"a": ints(1, 2), "b": ints(3, 9), "c": ints(1, 3)}),
    wide("slice_with_steps", "v = Slice(x, a, b, c, d)", IMAGE, None, {"STRIDED_SLICE": 1},
         constants={"a": ints(0), "b": ints(9), "c": ints(2), "d": ints(2)}),
    wide("gather", "v = Gather <axis = 1> (x, i)", IMAGE, None, {"GATHER": 1},
         constants={"i": ints(2, 0)}),
    wide("split", "v, u = Split <axis = 1, num_outputs = 2> (x)", IMAGE, None, {"SPLIT": 1}),
    wide("unequal_split", "v, u = Split <axis = 1> (x, s)", IMAGE, None, {"SLICE": 1},
         constants={"s": ints(1, 3)}),
    wide("depth_to_space", "v = DepthToSpace <blocksize = 2> (x)", IMAGE, None,
         {"RESHAPE": 2, "TRANSPOSE": 1}),
    wide("depth_to_space_channel_first", 'v = DepthToSpace <blocksize = 2, mode = "CRD"> (x)',
         {"x": (1, 8, 3, 5)}, None, {"RESHAPE": 2, "TRANSPOSE": 1}),
    wide("space_to_depth", "v = SpaceToDepth <blocksize = 2> (x)", EVEN, None,
         {"RESHAPE": 2, "TRANSPOSE": 1}),
]  # fmt: skip


@pytest.mark.parametrize("case", [*LAYERS, *ARITHMETIC, *FUNCTIONS, *POOLS, *MOVEMENT], ids=str)
def test_16_bit_integers_agree_with_the_simulation(case: Quantized) -> None:
    check_quantized(case)


def test_a_root_of_a_negative_integer_does_not_end_the_run() -> None:
    graph = qdq(wide("root", "v = Sqrt(x)", {"x": (4,)}, 2, {}))
    lowered = lower_graph(ir.from_proto(build(graph)), LoweringOptions())
    assert operator_counts(lowered.data)["MAXIMUM"] == 1
    feeds = {"x_raw": np.array([-1.5, -1e-4, 0, 2.25], np.float32)}
    made = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    np.testing.assert_allclose(made, [0, 0, 0, 1.5], atol=2 / 32767)


def test_a_quotient_by_zero_is_that_by_the_smallest_step() -> None:
    graph = qdq(wide("quotient", "v = Div(x, z)", {"x": (4,), "z": (4,)}, 100, {}))
    lowered = lower_graph(ir.from_proto(build(graph)), LoweringOptions())
    feeds = {
        "x_raw": np.array([1, -1, 1, 0], np.float32),
        "z_raw": np.array([0, 0, -0.5, 0], np.float32),
    }
    made = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    np.testing.assert_allclose(made, [100, -100, -2, 0], atol=1e-2)


@pytest.mark.parametrize("count", [4, 197, 1000])
@pytest.mark.parametrize("span", [12.0, 40.0])
def test_softmax_of_a_wide_range_counts_small_values_right(count: int, span: float) -> None:
    case = wide("softmax", "v = Softmax(x)", {"x": (1, 3, 5, count)}, 32767 / 32768, {})
    graph = qdq(replace(case, source=(span / 65535, 0)))
    model = build(graph)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert operator_counts(lowered.data)["SOFTMAX"] == 0
    assert "written as a table with int32 sums" in lowered.notes[0]
    random = np.random.default_rng(0)
    logits = np.clip(random.standard_normal((1, 3, 5, count)) * span / 8, -span / 2, span / 2)
    feeds = {"x_raw": logits.astype(np.float32)}
    expected = run_onnxruntime(model, feeds)["y"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    assert np.abs(np.rint((actual - expected) * 32768)).max() <= 6
