"""Layers on integer weights and float activations: exact, or within what rounding explains."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.core.target import WeightCompute
from edgekit.errors import UnsupportedGraphError
from edgekit.targets.tflite.lowering import LoweredGraph, LoweringOptions, lower_graph
from tests.targets.tflite.lowering.single_op import (
    Array,
    operator_counts,
    run_litert,
    run_onnxruntime,
)
from tests.targets.tflite.lowering.weight_only_graphs import BuiltLayer, Layer, build_layer

IMAGE = (1, 4, 9, 10)
LINE = (1, 4, 11)
CONV = {"CONV_2D": 1}
LINEAR = {"FULLY_CONNECTED": 1}
RESTORED = {"DEQUANTIZE": 1}
RESTORED_BLOCKS = {"DEQUANTIZE": 1, "RESHAPE": 1}
MATMUL = "m = MatMul(x, w)\ny = Add(m, b)"

LAYERS = [
    Layer("conv", "y = Conv(x, w, b)", IMAGE, (6, 4, 3, 3), 0, 6, 1, ops=CONV,
          exact_ops=CONV | RESTORED),
    Layer("conv_same_relu", "c = Conv <pads = [1,1,1,1]> (x, w, b)\ny = Relu(c)", IMAGE,
          (6, 4, 3, 3), 0, 6, 1, ops=CONV, exact_ops=CONV | RESTORED),
    Layer("conv_padded", "y = Conv <pads = [2,2,2,2], strides = [2,2]> (x, w, b)", IMAGE,
          (6, 4, 3, 3), 0, 6, 1, ops=CONV | {"PAD": 1}, exact_ops=CONV | RESTORED | {"PAD": 1}),
    Layer("conv_dilated", "y = Conv <dilations = [2,2]> (x, w, b)", IMAGE, (6, 4, 3, 3), 0, 6, 1,
          ops=CONV, exact_ops=CONV | RESTORED),
    Layer("conv_grouped", "y = Conv <group = 2> (x, w, b)", IMAGE, (6, 2, 3, 3), 0, 6, 1, ops=CONV,
          exact_ops=CONV | RESTORED),
    Layer("conv_one_scale", "y = Conv(x, w, b)", IMAGE, (6, 4, 3, 3), 0, 6, 1, slices=False,
          ops=CONV, exact_ops=CONV | RESTORED),
    Layer("conv_four_bits", "y = Conv(x, w, b)", IMAGE, (6, 4, 3, 3), 0, 6, 1, bits=4, ops=CONV,
          exact_ops=CONV | RESTORED),
    Layer("conv_of_lines", "y = Conv(x, w, b)", LINE, (6, 4, 3), 0, 6, 1,
          ops=CONV | {"RESHAPE": 2}, exact_ops=CONV | RESTORED | {"RESHAPE": 2}),
    Layer("conv_dynamic_batch", "y = Conv(x, w, b)", ("n", *IMAGE[1:]), (6, 4, 3, 3), 0, 6, 1,
          ops=CONV, exact_ops=CONV | RESTORED),
    Layer("transposed_conv", "y = ConvTranspose <strides = [2,2]> (x, w, b)", IMAGE, (4, 3, 2, 2),
          1, 3, 1, ops={"TRANSPOSE_CONV": 1}, exact_ops={"TRANSPOSE_CONV": 1} | RESTORED),
    Layer("gemm", "g = Gemm(x, w, b)\ny = Clip(g, lo, hi)", (3, 20), (20, 7), 1, 7, ops=LINEAR,
          exact_ops=LINEAR | RESTORED),
    Layer("gemm_of_rows", "y = Gemm <transB = 1> (x, w, b)", (3, 20), (7, 20), 0, 7, ops=LINEAR,
          exact_ops=LINEAR | RESTORED),
    Layer("gemm_odd_four_bits", "y = Gemm <transB = 1> (x, w, b)", (3, 7), (5, 7), 0, 5, bits=4,
          ops=LINEAR, exact_ops=LINEAR | RESTORED),
    Layer("gemm_one_scale", "y = Gemm(x, w, b)", (3, 20), (20, 7), 1, 7, slices=False, ops=LINEAR,
          exact_ops=LINEAR | RESTORED),
    Layer("matmul_rank_3", MATMUL, (2, 3, 20), (20, 7), 1, 7, ops=LINEAR,
          exact_ops=LINEAR | RESTORED),
    Layer("matmul_rank_4", MATMUL, (2, 2, 3, 20), (20, 7), 1, 7, ops=LINEAR,
          exact_ops=LINEAR | RESTORED),
    Layer("matmul_dynamic_batch", MATMUL, ("n", 3, 20), (20, 7), 1, 7, ops=LINEAR,
          exact_ops=LINEAR | RESTORED),
    Layer("blocks", "y = Gemm <transB = 1> (x, w, b)", (3, 64), (7, 64), 0, 7, bits=4, block=32,
          ops=LINEAR, exact_ops=LINEAR | RESTORED_BLOCKS),
    Layer("blocks_down_relu", f"{MATMUL.replace('y', 'a')}\ny = Relu(a)", (2, 3, 64), (64, 7), 1,
          7, bits=4, block=64, ops=LINEAR | {"RELU": 1}, exact_ops=LINEAR | RESTORED),
    Layer("blocks_relu", "g = Gemm(x, w, b)\ny = Relu(g)", (3, 64), (64, 7), 1, 7, bits=4,
          block=32, ops=LINEAR | {"RELU": 1}, exact_ops=LINEAR | RESTORED_BLOCKS),
]  # fmt: skip

ALWAYS_EXACT = [
    (
        Layer("depthwise", "y = Conv <group = 4> (x, w, b)", IMAGE, (8, 1, 3, 3), 0, 8, 1),
        "the kernels of DEPTHWISE_CONV_2D for integer weights are slower than float32",
    ),
    (
        Layer("grouped_one_scale", "y = Conv <group = 2> (x, w, b)", IMAGE, (6, 2, 3, 3), 0, 6, 1,
              slices=False),
        "convolutions with groups need a scale for each output",
    ),
    (
        Layer("grouped_four_bits", "y = Conv <group = 2> (x, w, b)", IMAGE, (6, 2, 3, 3), 0, 6, 1,
              bits=4),
        "convolutions with groups have no kernel for 4-bit weights",
    ),
    (
        Layer("transposed_four_bits", "y = ConvTranspose(x, w, b)", IMAGE, (4, 3, 2, 2), 1, 3, 1,
              bits=4),
        "TRANSPOSE_CONV gives NaN for 4-bit weights",
    ),
    (
        Layer("small_blocks", "y = Gemm(x, w, b)", (3, 64), (64, 7), 1, 7, bits=4, block=16),
        "XNNPACK takes blocks of a multiple of 32 alone",
    ),
    (
        Layer("few_outputs", "y = Gemm(x, w, b)", (3, 64), (64, 3), 1, 3, bits=4, block=32),
        "the builtin kernel for blocks is wrong with fewer than 4 outputs",
    ),
]  # fmt: skip


def lowered(built: BuiltLayer, compute: WeightCompute) -> LoweredGraph:
    return lower_graph(ir.from_proto(built.model), LoweringOptions(weight_compute=compute))


def feeds_for(layer: Layer, low: float = -3.0, high: float = 3.0, seed: int = 11) -> Array:
    shape = [2 if isinstance(size, str) else size for size in layer.x]
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def differences(built: BuiltLayer, made: LoweredGraph, x: Array) -> list[tuple[Array, Array]]:
    """Difference to ONNX Runtime and its result, with XNNPACK and without."""
    expected = run_onnxruntime(built.model, {"x": x})["y"]
    found = []
    for delegate in (True, False):
        actual = run_litert(made.data, made.signature, {"x": x}, delegate=delegate)["y"]
        assert actual.shape == expected.shape
        found.append((np.abs(actual.astype(np.float64) - expected), expected))
    return found


def assert_exact(built: BuiltLayer, made: LoweredGraph, x: Array) -> None:
    for difference, expected in differences(built, made, x):
        assert difference.max() <= 2e-6 * max(float(np.ptp(expected)), 1e-3)


def assert_explained(built: BuiltLayer, made: LoweredGraph, x: Array) -> None:
    for difference, expected in differences(built, made, x):
        sums = 1e-6 * max(float(np.abs(expected).max()), 1e-3)
        assert (difference <= built.explained(x) + sums).all()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_dynamic_layers_err_by_what_rounding_explains(layer: Layer) -> None:
    built = build_layer(layer)
    made = lowered(built, "dynamic")
    assert dict(operator_counts(made.data)) == dict(layer.ops)
    assert_explained(built, made, feeds_for(layer))
    (note,) = made.notes
    assert note == (
        "Dynamic range: 1 layer with integer weights, for which activations are rounded to 8 bits "
        "as they come; --weight-compute exact computes in float32."
    )


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_exact_layers_compute_as_the_graph(layer: Layer) -> None:
    built = build_layer(layer)
    made = lowered(built, "exact")
    assert dict(operator_counts(made.data)) == dict(layer.exact_ops)
    assert_exact(built, made, feeds_for(layer))
    assert made.notes == ("Integer weights restored to float32: 1 layer.",)


@pytest.mark.parametrize(("layer", "reason"), ALWAYS_EXACT, ids=str)
def test_layers_without_a_good_dynamic_kernel_are_exact(layer: Layer, reason: str) -> None:
    built = build_layer(layer)
    made = lowered(built, "dynamic")
    assert_exact(built, made, feeds_for(layer))
    assert made.notes == (f"Integer weights restored to float32: 1 layer: {reason}.",)


def test_scales_of_more_digits_than_the_file_holds_are_exact() -> None:
    layer = Layer("blocks", "y = Gemm(x, w, b)", (3, 64), (64, 7), 1, 7, bits=4, block=32)
    built = build_layer(layer)
    scales = next(item for item in built.model.graph.initializer if item.name == "s")
    array = onnx_array(scales) * np.float32(1.001)
    scales.raw_data = array.tobytes()
    made = lowered(built, "dynamic")
    assert_exact(built, made, feeds_for(layer))
    (note,) = made.notes
    assert note == (
        "Integer weights restored to float32: 1 layer: scales of blocks are stored with 8 digits, "
        "and theirs have more."
    )


def test_weights_with_zero_points_are_exact() -> None:
    layer = Layer("gemm", "y = Gemm(x, w, b)", (3, 20), (20, 7), 1, 7)
    built = build_layer(layer)
    points = next(item for item in built.model.graph.initializer if item.name == "z")
    points.int32_data[:] = range(7)
    made = lowered(built, "dynamic")
    assert_exact(built, made, feeds_for(layer))
    assert made.notes[0].endswith("weights with zero points have no kernel.")


def onnx_array(tensor: Any) -> Array:
    import onnx

    return np.array(onnx.numpy_helper.to_array(tensor))


@pytest.mark.parametrize("compute", ["dynamic", "exact"])
def test_a_flattened_image_keeps_its_blocks_together(compute: WeightCompute) -> None:
    layer = Layer(
        "flat", "c = Relu(x)\np = MaxPool <kernel_shape = [1,1]> (c)\n"
        "f = Flatten(p)\ny = Gemm(f, w, b)",
        (1, 4, 4, 4), (64, 8), 1, 8, bits=4, block=32,
    )  # fmt: skip
    built = build_layer(layer)
    made = lowered(built, compute)
    assert operator_counts(made.data)["TRANSPOSE"] == 1
    check = assert_exact if compute == "exact" else assert_explained
    check(built, made, feeds_for(layer))


def test_one_weight_read_by_two_layers_is_stored_and_restored_once() -> None:
    layer = Layer("twice", "u = MatMul(x, w)\ny = MatMul(u, w)", (2, 8), (8, 8), 1, 8)
    built = build_layer(layer)
    made = lowered(built, "exact")
    assert dict(operator_counts(made.data)) == {"DEQUANTIZE": 1, "FULLY_CONNECTED": 2}
    assert made.notes == ("Integer weights restored to float32: 2 layers.",)
    assert_exact(built, made, feeds_for(layer))
    assert len(made.data) < len(lower_graph(floats_of(built), LoweringOptions()).data) + 600


def floats_of(built: BuiltLayer) -> ir.Model:
    """The graph with its weights as float initializers."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(built.model)
    del model.graph.node[0]
    array = built.weights.astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, "w"))
    for name in ("q", "s", "z"):
        model.graph.initializer.remove(
            next(item for item in model.graph.initializer if item.name == name)
        )
    return ir.from_proto(model)


@pytest.mark.parametrize(
    ("layer", "reason", "accepted"),
    [
        (
            Layer("gemm", "y = Gemm(x, w, b)", (3, 20), (20, 7), 0, 7),
            "weight 'w' with a scale for each slice along axis 0",
            "one scale, or one for each output (axis 1)",
        ),
        (
            Layer("gemm", "y = Gemm <alpha = 2.0> (x, w, b)", (3, 20), (20, 7), 1, 7),
            "quantized weights with alpha=2.0",
            "alpha=1",
        ),
        (
            Layer("blocks", "y = Gemm(x, w, b)", (3, 64), (64, 32), 0, 32, bits=4, block=32),
            "weight 'w' in blocks along axis 1 of 2",
            "blocks of a matrix along its inputs",
        ),
    ],
    ids=lambda item: str(item)[:20],
)
def test_what_cannot_be_stored_is_refused(layer: Layer, reason: str, accepted: str) -> None:
    with pytest.raises(UnsupportedGraphError) as caught:
        lowered(build_layer(layer), "dynamic")
    (node,) = caught.value.nodes
    assert (node.reason, node.accepted) == (reason, accepted)


def test_a_block_that_does_not_divide_its_axis_is_refused() -> None:
    layer = Layer("blocks", "y = Gemm(x, w, b)", (3, 64), (64, 7), 1, 7, bits=4, block=32)
    built = build_layer(layer)
    built.model.graph.node[0].attribute[1].i = 48
    with pytest.raises(UnsupportedGraphError, match="blocks of 48 along 64 elements"):
        lowered(built, "dynamic")


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 6),
    inputs=st.integers(1, 3),
    units=st.integers(4, 20),
    bits=st.sampled_from([4, 8]),
    blocks=st.booleans(),
    low=st.floats(-50, 50, width=32),
    span=st.floats(0, 100, width=32),
    seed=st.integers(0, 10),
)
def test_linear_layers_of_any_size_and_range(
    rows: int, inputs: int, units: int, bits: int, blocks: bool, low: float, span: float, seed: int
) -> None:
    blocks = blocks and bits == 4
    width = inputs * 32 if blocks else inputs * 7
    layer = Layer("any", "y = Gemm <transB = 1> (x, w, b)", (rows, width), (units, width), 0,
                  units, bits=bits, block=32 if blocks else 0)  # fmt: skip
    built = build_layer(layer, seed)
    x = feeds_for(layer, low, low + span, seed)
    assert_explained(built, lowered(built, "dynamic"), x)
    assert_exact(built, lowered(built, "exact"), x)


@settings(max_examples=30, deadline=None)
@given(
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 2),
    groups=st.sampled_from([1, 2, 4]),
    low=st.floats(-50, 50, width=32),
    span=st.floats(0, 100, width=32),
    seed=st.integers(0, 10),
)
def test_convolutions_of_any_window_and_range(
    kernel: int, stride: int, pad: int, groups: int, low: float, span: float, seed: int
) -> None:
    body = (
        f"y = Conv <group = {groups}, strides = [{stride},{stride}], "
        f"pads = [{pad},{pad},{pad},{pad}]> (x, w, b)"
    )
    layer = Layer("any", body, (2, 4, 7, 6), (8, 4 // groups, kernel, kernel), 0, 8, 1)
    built = build_layer(layer, seed)
    x = feeds_for(layer, low, low + span, seed)
    assert_explained(built, lowered(built, "dynamic"), x)
    assert_exact(built, lowered(built, "exact"), x)
