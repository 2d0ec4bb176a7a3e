"""QDQ graphs on integers: LiteRT within one step of ONNX Runtime's float simulation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.core.quant import HARD_SIGMOID_SCALE
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from tests.targets.tflite.lowering.single_op import (
    OPSET,
    Array,
    Case,
    build,
    ints,
    operator_counts,
    random_inputs,
    run_litert,
    run_onnxruntime,
    scalar,
)

IMAGE = {"x": (1, 4, 9, 10)}
PLAIN = (6 / 255, -1)
INT16_OPSET = 21


@dataclass(frozen=True)
class Quantized:
    """One operator between quantized values.

    Attributes:
        name: Test id.
        body: Nodes that read ``x`` (and ``z``) and make ``v``.
        inputs: Shapes of the inputs.
        weights: Shape and sliced axis of the int8 weights ``w``; a bias ``b`` comes with them.
        constants: Further initializers.
        output: Scale and zero point of the result; None takes the input's.
        ops: Expected TFLite operators besides QUANTIZE and DEQUANTIZE at the border.
        dtype: Type of the activations.
        source: Scale and zero point of the inputs.
        lsb: Accepted difference, in steps of the result.
    """

    name: str
    body: str
    inputs: Mapping[str, Sequence[int | str]]
    weights: tuple[tuple[int, ...], int, int] | None = None
    constants: Mapping[str, Sequence[int] | Array] = field(default_factory=dict)
    output: tuple[float, int] | None = PLAIN
    ops: Mapping[str, int] = field(default_factory=dict)
    dtype: str = "int8"
    source: tuple[float, int] = PLAIN
    lsb: int = 1

    def __str__(self) -> str:
        return self.name

    @property
    def result(self) -> tuple[float, int]:
        return self.source if self.output is None else self.output


def qdq(case: Quantized) -> Case:
    """The case with its QuantizeLinear and DequantizeLinear nodes."""
    constants: dict[str, Sequence[int] | Array] = dict(case.constants)
    lines = []

    def parameters(name: str, scale: float, zero_point: int) -> None:
        constants[f"{name}_scale"] = scalar(scale)
        constants[f"{name}_zero"] = np.array(zero_point, case.dtype)

    def pair(value: str, result: str, name: str) -> None:
        lines.append(f"{result}_int = QuantizeLinear({value}, {name}_scale, {name}_zero)")
        lines.append(f"{result} = DequantizeLinear({result}_int, {name}_scale, {name}_zero)")

    parameters("in", *case.source)
    parameters("out", *case.result)
    for name in case.inputs:
        pair(f"{name}_raw", name, "in")
    if case.weights is not None:
        shape, axis, units = case.weights
        rng = np.random.default_rng(3)
        scales = rng.uniform(0.004, 0.02, shape[axis]).astype(np.float32)
        constants["w_int"] = rng.integers(-127, 128, shape).astype(np.int8)
        constants["b_int"] = rng.integers(-3000, 3000, units).astype(np.int32)
        constants["w_scale"], constants["w_zero"] = scales, np.zeros(shape[axis], np.int8)
        constants["b_scale"] = scales * np.float32(case.source[0])
        constants["b_zero"] = np.zeros(units, np.int32)
        lines.append(f"w = DequantizeLinear <axis = {axis}> (w_int, w_scale, w_zero)")
        lines.append("b = DequantizeLinear <axis = 0> (b_int, b_scale, b_zero)")
    lines.append(case.body)
    pair("v", "y", "out")
    inputs = {f"{name}_raw": shape for name, shape in case.inputs.items()}
    opset = OPSET if case.dtype == "int8" else INT16_OPSET
    return Case(case.name, "\n".join(lines), inputs, constants, opset=opset)


CONV = ((6, 4, 3, 3), 0, 6)
CASES = [
    Quantized("conv", "v = Conv(x, w, b)", IMAGE, CONV, ops={"CONV_2D": 1}),
    Quantized(
        "conv_relu_padded",
        "c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b)\nv = Relu(c)",
        {"x": (1, 4, 8, 8)},
        CONV,
        output=(12 / 255, -128),
        ops={"PAD": 1, "CONV_2D": 1},
    ),
    Quantized("conv_no_bias", "v = Conv(x, w)", IMAGE, CONV, ops={"CONV_2D": 1}),
    Quantized(
        "depthwise",
        "v = Conv <group = 4> (x, w, b)",
        IMAGE,
        ((8, 1, 3, 3), 0, 8),
        ops={"DEPTHWISE_CONV_2D": 1},
    ),
    Quantized(
        "transposed_conv",
        "v = ConvTranspose <strides = [2,2]> (x, w, b)",
        IMAGE,
        ((4, 3, 2, 2), 1, 3),
        ops={"TRANSPOSE_CONV": 1},
    ),
    Quantized(
        "gemm",
        "v = Gemm <transB = 1> (x, w, b)",
        {"x": (2, 16)},
        ((5, 16), 0, 5),
        ops={"FULLY_CONNECTED": 1},
    ),
    Quantized(
        "matmul_with_bias",
        "m = MatMul(x, w)\nv = Add(m, b)",
        {"x": (2, 3, 16)},
        ((16, 5), 1, 5),
        ops={"FULLY_CONNECTED": 1},
    ),
    Quantized("add", "v = Add(x, z)", {**IMAGE, "z": (1, 4, 9, 10)}, ops={"ADD": 1}),
    Quantized("sub", "v = Sub(x, z)", {**IMAGE, "z": (1, 4, 9, 10)}, ops={"SUB": 1}),
    Quantized(
        "sub_from_constant",
        "kd = DequantizeLinear(k, in_scale, in_zero)\nv = Sub(kd, x)",
        IMAGE,
        None,
        {"k": np.arange(-4, 4, 2, dtype=np.int8).reshape(4, 1, 1)},
        ops={"SUB": 1},
    ),
    Quantized(
        "mul", "v = Mul(x, z)", {**IMAGE, "z": (1, 4, 1, 1)}, output=(18 / 255, 0), ops={"MUL": 1}
    ),
    Quantized(
        "concat", "v = Concat <axis = 1> (x, x)", IMAGE, output=None, ops={"CONCATENATION": 1}
    ),
    Quantized(
        "max_pool",
        "v = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)",
        IMAGE,
        output=None,
        ops={"MAX_POOL_2D": 1},
    ),
    Quantized(
        "max_pool_padded",
        "v = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (x)",
        {"x": (1, 3, 8, 8)},
        output=None,
        ops={"PADV2": 1, "MAX_POOL_2D": 1},
    ),
    Quantized(
        "average_pool",
        "v = AveragePool <kernel_shape = [2,2], strides = [2,2]> (x)",
        IMAGE,
        output=None,
        ops={"AVERAGE_POOL_2D": 1},
    ),
    Quantized("mean", "v = GlobalAveragePool(x)", IMAGE, output=(2 / 255, 3), ops={"MEAN": 1}),
    Quantized("sigmoid", "v = Sigmoid(x)", IMAGE, output=(1 / 256, -128), ops={"LOGISTIC": 1}),
    Quantized("tanh", "v = Tanh(x)", IMAGE, output=(1 / 128, 0), ops={"TANH": 1}),
    Quantized(
        "softmax", "v = Softmax(x)", {"x": (2, 10)}, output=(1 / 256, -128), ops={"SOFTMAX": 1}
    ),
    Quantized("hard_swish", "v = HardSwish(x)", IMAGE, output=(3.5 / 255, -100)),
    Quantized(
        "hard_sigmoid",
        "v = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)",
        IMAGE,
        output=(1 / 255, -128),
        ops={"DEPTHWISE_CONV_2D": 1},
    ),
    Quantized(
        "hard_sigmoid_of_a_scale_of_float16",
        "v = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x)",
        IMAGE,
        output=(HARD_SIGMOID_SCALE, -128),
        ops={"DEPTHWISE_CONV_2D": 1},
    ),
    Quantized("relu", "v = Relu(x)", IMAGE, output=(3 / 255, -128), ops={"QUANTIZE": 1}),
    Quantized("leaky_relu", "v = LeakyRelu <alpha = 0.2> (x)", IMAGE, ops={"LEAKY_RELU": 1}),
    Quantized("reshape", "v = Reshape(x, s)", {"x": (2, 12)}, None, {"s": ints(2, 3, 4)}, None),
    Quantized("transpose", "v = Transpose <perm = [1,0]> (x)", {"x": (2, 12)}, output=None),
    Quantized(
        "expand",
        "v = Expand(x, s)",
        {"x": (2, 1, 3)},
        None,
        {"s": ints(2, 4, 3)},
        None,
        {"BROADCAST_TO": 1},
    ),
    Quantized(
        "flatten_permutes_weights",
        "f = Flatten(x)\nfi = QuantizeLinear(f, in_scale, in_zero)\n"
        "fd = DequantizeLinear(fi, in_scale, in_zero)\nv = Gemm <transB = 1> (fd, w, b)",
        {"x": (1, 4, 3, 3)},
        ((5, 36), 0, 5),
    ),
    Quantized(
        "pad", "v = Pad(x, p)", IMAGE, None, {"p": ints(0, 1, 2, 3, 0, 0, 1, 2)}, None, {"PAD": 1}
    ),
    Quantized(
        "resize_nearest",
        'v = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", '
        'nearest_mode = "floor"> (x,, s)',
        IMAGE,
        None,
        {"s": np.array([1, 1, 2, 2], np.float32)},
        None,
        {"RESIZE_NEAREST_NEIGHBOR": 1},
    ),
    Quantized(
        "resize_linear",
        'v = Resize <mode = "linear"> (x,, s)',
        IMAGE,
        None,
        {"s": np.array([1, 1, 2, 2], np.float32)},
        None,
        {"RESIZE_BILINEAR": 1},
    ),
]


def check_quantized(case: Quantized) -> bytes:
    """Lowers a case and compares LiteRT with ONNX Runtime on all that it makes.

    Returns:
        The TFLite file.
    """
    graph = qdq(case)
    model = build(graph)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    feeds = random_inputs(graph)
    expected = run_onnxruntime(model, feeds)["y"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    steps = np.rint((actual - expected) / case.result[0])
    assert actual.shape == expected.shape
    assert np.abs(steps).max() <= case.lsb
    counts = operator_counts(lowered.data)
    border = Counter({"QUANTIZE": len(case.inputs), "DEQUANTIZE": 1})
    assert not border - counts
    if case.ops:
        assert dict(counts - border) == dict(case.ops)
    assert counts["DEQUANTIZE"] == 1
    return lowered.data


@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_agree_with_the_simulation_within_one_step(case: Quantized) -> None:
    check_quantized(case)


def test_tensors_carry_the_parameters_of_the_graph() -> None:
    graph = qdq(CASES[0])
    model = build(graph)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    subgraph = schema.ModelT.InitFromPackedBuf(lowered.data, 0).subgraphs[0]
    tensors = {tensor.name.decode(): tensor for tensor in subgraph.tensors}
    weights, bias = tensors["w"], tensors["b"]
    assert np.array_equal(weights.quantization.scale, graph.constants["w_scale"])
    assert weights.quantization.quantizedDimension == 0
    assert np.array_equal(bias.quantization.scale, graph.constants["b_scale"])
    assert tensors["x_int"].quantization.scale[0] == np.float32(PLAIN[0])
    assert tensors["x_int"].quantization.zeroPoint[0] == PLAIN[1]
    stored = schema.ModelT.InitFromPackedBuf(lowered.data, 0).buffers[weights.buffer].data
    integers = np.frombuffer(bytes(stored), np.int8).reshape(6, 3, 3, 4)
    assert np.array_equal(integers.transpose(0, 3, 1, 2), graph.constants["w_int"])


def test_a_layer_kept_in_float_computes_in_float() -> None:
    case = Quantized("kept", "v = Conv(x, k)", IMAGE, None, {"k": (6, 4, 3, 3)})
    graph = qdq(case)
    model = build(graph)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    counts = operator_counts(lowered.data)
    assert counts == {"QUANTIZE": 2, "DEQUANTIZE": 2, "CONV_2D": 1}
    feeds = random_inputs(graph)
    expected = run_onnxruntime(model, feeds)["y"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    assert np.abs(actual - expected).max() <= PLAIN[0] * 1.001


def test_a_float_operator_between_quantized_ones_is_visible() -> None:
    case = Quantized("island", "v = Div(x, z)", {**IMAGE, "z": (1, 4, 9, 10)}, output=(0.1, 0))
    lowered = lower_graph(ir.from_proto(build(qdq(case))), LoweringOptions())
    counts = operator_counts(lowered.data)
    assert (counts["DEQUANTIZE"], counts["DIV"], counts["QUANTIZE"]) == (3, 1, 3)
