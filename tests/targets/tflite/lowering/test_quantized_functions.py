"""Int8 operators beyond the layers: functions, clamps, reductions, extremes and padding."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from tests.targets.tflite.lowering.single_op import (
    IMAGE,
    build,
    ints,
    operator_counts,
    random_inputs,
    run_litert,
    run_onnxruntime,
    scalar,
)
from tests.targets.tflite.lowering.test_quantized import Quantized, check_quantized, qdq

POSITIVE = (3 / 255, -128)
TABLE = {"CAST": 1, "SUB": 1, "GATHER": 1}
TWO = {**IMAGE, "z": (1, 4, 9, 10)}
PADS = {"p": ints(0, 1, 2, 3, 0, 0, 1, 2)}

FUNCTIONS = [
    Quantized("exp", "v = Exp(x)", IMAGE, output=(20.1 / 255, -128), ops={"EXP": 1}),
    Quantized("log", "v = Log(x)", IMAGE, output=(5.5 / 255, 77), source=POSITIVE, ops={"LOG": 1}),
    Quantized("abs", "v = Abs(x)", IMAGE, output=(3 / 255, -128), ops={"ABS": 1}),
    Quantized("neg", "v = Neg(x)", IMAGE, output=(7 / 255, 3), ops={"MUL": 1}),
    Quantized("sqrt", "v = Sqrt(x)", IMAGE, output=(1.8 / 255, -128), source=POSITIVE, ops=TABLE),
    Quantized(
        "reciprocal", "v = Reciprocal(x)", IMAGE, output=(20 / 255, -128), source=POSITIVE,
        ops=TABLE,
    ),
    Quantized("sign", "v = Sign(x)", IMAGE, output=(2 / 255, 0), ops=TABLE),
    Quantized("sin", "v = Sin(x)", IMAGE, output=(2 / 255, 0), ops=TABLE),
    Quantized("floor", "v = Floor(x)", IMAGE, ops=TABLE),
    Quantized("elu", "v = Elu(x)", IMAGE, output=(4 / 255, -64), ops={"ELU": 1}),
    Quantized("elu_of_2", "v = Elu <alpha = 2.0> (x)", IMAGE, output=(5 / 255, -26), ops=TABLE),
    Quantized("gelu", "v = Gelu(x)", IMAGE, output=(3.2 / 255, -114), ops={"GELU": 1}),
    Quantized(
        "square", "v = Pow(x, e)", IMAGE, None, {"e": scalar(2)}, (9 / 255, -128), {"MUL": 1}
    ),
    Quantized(
        "root", "v = Pow(x, e)", IMAGE, None, {"e": scalar(0.5)}, (1.8 / 255, -128), TABLE,
        source=POSITIVE,
    ),
    Quantized(
        "inverse_root", "v = Pow(x, e)", IMAGE, None, {"e": scalar(-0.5)}, (5 / 255, -128),
        {"RSQRT": 1}, source=POSITIVE,
    ),
    Quantized(
        "inverse_root_of_what_may_be_negative", "v = Pow(x, e)", IMAGE, None,
        {"e": scalar(-0.5)}, (5 / 255, -128), TABLE,
    ),
    Quantized("cube", "v = Pow(x, e)", IMAGE, None, {"e": scalar(3)}, (54 / 255, -1), TABLE),
    Quantized("hard_swish_of_rank_3", "v = HardSwish(x)", {"x": (2, 3, 5)}, ops=TABLE),
    Quantized(
        "hard_sigmoid_of_rank_3", "v = HardSigmoid(x)", {"x": (2, 3, 5)}, output=(1 / 255, -128),
        ops=TABLE,
    ),
    Quantized(
        "hard_sigmoid_with_a_finer_scale", "v = HardSigmoid(x)", IMAGE, output=(0.3 / 255, -128),
        ops=TABLE,
    ),
    Quantized(
        "hard_sigmoid_with_another_scale", "v = HardSigmoid(x)", IMAGE, output=(0.9 / 255, -128),
        ops={"DEPTHWISE_CONV_2D": 1, "QUANTIZE": 1},
    ),
]  # fmt: skip
CLAMPS = [
    Quantized(
        "relu6_shares_parameters", "v = Clip(x, a, b)", IMAGE, None,
        {"a": scalar(0), "b": scalar(6)}, None, {"MAXIMUM": 1},
    ),
    Quantized(
        "clip_to_the_range_of_the_result", "v = Clip(x, a, b)", IMAGE, None,
        {"a": scalar(0), "b": scalar(1)}, (1 / 255, -128), {"QUANTIZE": 1},
    ),
    Quantized(
        "clip_to_any_range", "v = Clip(x, a, b)", IMAGE, None,
        {"a": scalar(-1.7), "b": scalar(0.33)}, None, {"MAXIMUM": 1, "MINIMUM": 1},
    ),
    Quantized(
        "clip_to_any_range_with_a_finer_scale", "v = Clip(x, a, b)", IMAGE, None,
        {"a": scalar(-1.7), "b": scalar(0.33)}, (2.1 / 255, 83), {"QUANTIZE": 1, "MAXIMUM": 1,
                                                                  "MINIMUM": 1},
    ),
    Quantized(
        "clip_from_below", "v = Clip(x, a)", IMAGE, None, {"a": scalar(-0.4)}, None,
        {"MAXIMUM": 1},
    ),
    Quantized(
        "clip_that_changes_nothing", "v = Clip(x, a, b)", IMAGE, None,
        {"a": scalar(-50), "b": scalar(50)}, None,
    ),
]  # fmt: skip
REDUCTIONS = [
    Quantized(
        "sum", "v = ReduceSum(x, k)", IMAGE, None, {"k": ints(2, 3)}, (120 / 255, 3), {"SUM": 1}
    ),
    Quantized("sum_of_all", "v = ReduceSum <keepdims = 0> (x)", {"x": (4, 9)}, output=(0.4, 2)),
    Quantized(
        "mean_of_channels", "v = ReduceMean(x, k)", IMAGE, None, {"k": ints(1)}, (4 / 255, 3),
        {"MEAN": 1},
    ),
    Quantized(
        "max", "v = ReduceMax(x, k)", IMAGE, None, {"k": ints(2, 3)}, None, {"REDUCE_MAX": 1}
    ),
    Quantized(
        "max_with_another_scale", "v = ReduceMax(x, k)", IMAGE, None, {"k": ints(1)},
        (3 / 255, -128), {"REDUCE_MAX": 1, "QUANTIZE": 1},
    ),
    Quantized(
        "min", "v = ReduceMin(x, k)", IMAGE, None, {"k": ints(1)}, None, {"REDUCE_MIN": 1}
    ),
    Quantized("global_max", "v = GlobalMaxPool(x)", IMAGE, output=None, ops={"REDUCE_MAX": 1}),
]  # fmt: skip
EXTREMES = [
    Quantized("maximum", "v = Max(x, z)", TWO, output=None, ops={"MAXIMUM": 1}),
    Quantized("minimum_of_three", "v = Min(x, z, x)", TWO, output=None, ops={"MINIMUM": 2}),
    Quantized(
        "maximum_with_another_scale", "v = Max(x, z)", {**IMAGE, "z": (4, 1, 1)},
        output=(4 / 255, -64), ops={"MAXIMUM": 1, "QUANTIZE": 2},
    ),
    Quantized(
        "minimum_with_a_float_constant", "v = Min(x, k)", IMAGE, None,
        {"k": np.array([-1, 0.3, 0.77, 2], np.float32).reshape(4, 1, 1)}, None, {"MINIMUM": 1},
    ),
    Quantized(
        "maximum_with_a_quantized_constant",
        "kd = DequantizeLinear(ki, ks, kz)\nv = Max(kd, x)", IMAGE, None,
        {"ki": np.array([[[-90]], [[0]], [[5]], [[100]]], np.int8), "ks": scalar(0.02),
         "kz": np.array(3, np.int8)}, None, {"QUANTIZE": 1, "MAXIMUM": 1},
    ),
    Quantized(
        "concat_of_two_scales",
        "s = Sigmoid(z)\nsi = QuantizeLinear(s, sig_scale, sig_zero)\n"
        "sd = DequantizeLinear(si, sig_scale, sig_zero)\nv = Concat <axis = 1> (x, sd, k)",
        TWO, None,
        {"sig_scale": scalar(1 / 256), "sig_zero": np.array(-128, np.int8), "k": (1, 2, 9, 10)},
        None, {"LOGISTIC": 1, "QUANTIZE": 1, "CONCATENATION": 1},
    ),
]  # fmt: skip
PADDING = [
    Quantized(
        "pad_with_a_number", "v = Pad(x, p, f)", IMAGE, None, {**PADS, "f": scalar(-1.3)}, None,
        {"PADV2": 1},
    ),
    Quantized(
        "pad_with_edges", 'v = Pad <mode = "edge"> (x, p)', IMAGE, None, PADS, None, {"GATHER": 3}
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", [*FUNCTIONS, *CLAMPS, *REDUCTIONS, *EXTREMES, *PADDING], ids=str)
def test_integers_agree_with_the_simulation_within_one_step(case: Quantized) -> None:
    check_quantized(case)


def test_an_average_that_would_be_rounded_twice_computes_in_float() -> None:
    body = "v = AveragePool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (x)"
    case = Quantized("average", body, {"x": (1, 3, 8, 8)}, output=None)
    graph = qdq(case)
    model = build(graph)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    counts = operator_counts(lowered.data)
    assert (counts["DEQUANTIZE"], counts["AVERAGE_POOL_2D"], counts["QUANTIZE"]) == (2, 1, 2)
    feeds = random_inputs(graph)
    expected = run_onnxruntime(model, feeds)["y"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    assert np.abs(actual - expected).max() <= case.result[0] * 1.001


def test_a_power_of_another_value_computes_in_float() -> None:
    case = Quantized("power", "v = Pow(x, z)", TWO, output=(0.2, 0), source=(3 / 255, -128))
    lowered = lower_graph(ir.from_proto(build(qdq(case))), LoweringOptions())
    counts = operator_counts(lowered.data)
    assert (counts["POW"], counts["DEQUANTIZE"], counts["QUANTIZE"]) == (1, 3, 3)
