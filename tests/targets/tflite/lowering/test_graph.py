"""Whole-graph behaviour of the TFLite lowering."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgekit.errors import UnsupportedGraphError
from edgekit.targets.tflite.lowering import LoweringOptions, check_graph, lower_graph
from tests.targets.tflite.lowering.single_op import (
    IMAGE,
    Array,
    Case,
    build,
    check,
    ints,
    operator_counts,
    random_inputs,
    run_litert,
    run_onnxruntime,
    scalar,
)

NETWORK = Case(
    "network",
    "c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, k)\nr = Relu(c)\n"
    "d = Conv <group = 8, pads = [1,1,1,1]> (r, e)\nh = HardSwish(d)\n"
    "g = GlobalAveragePool(h)\nf = Flatten(g)\ny = Gemm(f, w, b)",
    {"x": (1, 3, 16, 16)},
    {"k": (8, 3, 3, 3), "e": (8, 1, 3, 3), "w": (8, 5), "b": (5,)},
)


def lower(case: Case, **options: str) -> bytes:
    return lower_graph(ir.from_proto(build(case)), LoweringOptions(**options)).data  # type: ignore[arg-type]


def test_a_network_has_no_transpose_and_fuses_its_activation() -> None:
    counts = operator_counts(check(NETWORK))
    assert counts == {
        "PAD": 1, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "HARD_SWISH": 1, "MEAN": 1,
        "RESHAPE": 1, "FULLY_CONNECTED": 1,
    }  # fmt: skip


def test_equal_graphs_give_equal_bytes() -> None:
    assert lower(NETWORK) == lower(NETWORK)


def test_the_graph_is_not_modified() -> None:
    model = ir.from_proto(build(NETWORK))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    lower_graph(model, LoweringOptions())
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    assert not any(node.meta for node in model.graph)


def test_float16_halves_the_weights_and_stays_close() -> None:
    wide = Case("wide", "y = Conv(x, k)", {"x": (1, 64, 8, 8)}, {"k": (128, 64, 3, 3)})
    half = check(wide, weights_dtype="float16", tolerance=2e-3)
    assert len(half) < 0.52 * len(lower(wide))


def test_weights_beyond_float16_stay_float32_with_a_note() -> None:
    case = Case("big", "y = MatMul(x, w)", {"x": (1, 2)}, {"w": np.full((2, 3), 1e5, np.float32)})
    lowered = lower_graph(ir.from_proto(build(case)), LoweringOptions(weights_dtype="float16"))
    assert any("exceeds the range of float16" in note for note in lowered.notes)
    assert "DEQUANTIZE" not in operator_counts(lowered.data)


def test_inputs_and_outputs_keep_their_names_and_order() -> None:
    case = Case(
        "two", "y1 = Conv(x, k)\ny0 = Neg(z)", {"z": (2, 3), "x": (1, 3, 5, 6)},
        {"k": (2, 3, 1, 1)}, outputs=("y0", "y1"),
    )  # fmt: skip
    lowered = lower_graph(ir.from_proto(build(case)), LoweringOptions())
    assert [spec.name for spec in lowered.signature.inputs] == ["z", "x"]
    assert [spec.name for spec in lowered.signature.outputs] == ["y0", "y1"]
    assert lowered.signature.input("x").stored_shape == (1, 5, 6, 3)
    assert lowered.signature.input("z").stored_axes is None


@pytest.mark.parametrize(
    "body",
    ["y0 = Neg(x)\ny1 = Identity(y0)", "y0 = Identity(x)\ny1 = Transpose <perm = [1,0]> (x)"],
)
def test_outputs_that_share_a_tensor_are_copied(body: str) -> None:
    check(Case("shared", body, {"x": (2, 3)}, outputs=("y0", "y1")))


def test_dynamic_batch_runs_at_other_batch_sizes() -> None:
    case = Case(NETWORK.name, NETWORK.body, {"x": ("batch", 3, 16, 16)}, NETWORK.constants)
    model = build(case)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert lowered.signature.input("x").shape[0] == "batch"
    for batch in (1, 3):
        feeds = random_inputs(case, batch)
        expected = run_onnxruntime(model, feeds)["y"]
        actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
        assert actual.shape == (batch, 5)
        assert np.abs(actual - expected).max() <= 2e-6 * np.abs(expected).max()


def test_all_refused_nodes_are_listed_with_reason_and_remedy() -> None:
    case = Case(
        "refused",
        'c = Conv(x, k)\ne = Erf(c)\nm = Mish(e)\np = Pad <mode = "wrap"> (m, q)\ny = Relu(p)',
        {"x": (1, 3, 6, 6)},
        {"k": (3, 3, 1, 1), "q": ints(0, 0, 1, 1, 0, 0, 1, 1)},
    )
    model = ir.from_proto(build(case))
    with pytest.raises(UnsupportedGraphError) as raised:
        lower_graph(model, LoweringOptions())
    assert [node.op for node in raised.value.nodes] == ["Erf", "Mish", "Pad"]
    message = str(raised.value)
    assert "Erf (node 'node_1', opset 20, shapes [1,3,6,6], dtypes float)" in message
    assert "mode 'wrap'; accepted: constant, reflect or edge" in message
    assert "--engine onnx2tf" in message
    assert [node.op for node in check_graph(model).unsupported] == ["Erf", "Mish", "Pad"]


def test_custom_domains_are_refused() -> None:
    model = build(Case("plain", "y = Relu(x)", IMAGE))
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    report = check_graph(ir.from_proto(model))
    assert [node.op for node in report.unsupported] == ["com.example::Relu"]


def test_weights_computed_at_run_time_are_refused() -> None:
    case = Case("dynamic", "y = Conv(x, k)", {"x": (1, 3, 6, 6), "k": (2, 3, 1, 1)})
    report = check_graph(ir.from_proto(build(case)))
    assert "weight 'k' is computed at run time" in str(report.unsupported[0])


def test_an_input_that_is_also_an_output_is_copied() -> None:
    model = build(Case("echo", "y = Relu(x)", {"x": (2, 3)}))
    model.graph.output.append(model.graph.input[0])
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert [spec.name for spec in lowered.signature.outputs] == ["y", "x"]
    names = [
        tensor["name"] for tensor in Interpreter(model_content=lowered.data).get_output_details()
    ]
    assert names == ["y", "x/output"]


def test_a_constant_output_is_copied() -> None:
    case = Case("fixed", "y = Add(x, c)", {"x": (2, 3)}, {"c": (2, 3)})
    model = build(case)
    value = onnx.helper.make_tensor_value_info("c", onnx.TensorProto.FLOAT, [2, 3])
    model.graph.output.append(value)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    feeds = random_inputs(case)
    expected = run_onnxruntime(model, feeds)
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)
    assert np.array_equal(actual["c"], expected["c"])


def test_used_pooling_indices_are_refused() -> None:
    case = Case(
        "indices", "y, i = MaxPool <kernel_shape = [2,2]> (x)\nz = Cast <to = 1> (i)", IMAGE,
        outputs=("y", "z"),
    )  # fmt: skip
    report = check_graph(ir.from_proto(build(case)))
    assert "the indices output is used" in str(report.unsupported[0])


def test_outputs_without_images_keep_the_order_of_onnx() -> None:
    case = Case("plain", "y = Softmax <axis = 1> (x)", {"x": (1, 3, 4, 5)})
    lowered = lower_graph(ir.from_proto(build(case)), LoweringOptions())
    assert lowered.signature.output("y").stored_axes is None


@pytest.mark.parametrize(
    ("scale", "zero_point", "reason"),
    [
        ("m", np.array(0, np.int8), "a scale computed at run time"),
        ("k", np.array(3, np.int16), "16-bit integers with a zero point other than 0"),
        ("k", np.array(3, np.uint16), "quantization to uint16"),
    ],
)
def test_quantization_without_tensors_for_it_is_refused(
    scale: str, zero_point: Array, reason: str
) -> None:
    case = Case(
        "refused",
        f"m = ReduceMean <keepdims = 0> (x)\nq = QuantizeLinear(x, {scale}, z)\n"
        f"y = DequantizeLinear(q, {scale}, z)",
        {"x": (1, 4)},
        {"k": scalar(0.1), "z": zero_point},
        opset=21,
    )
    with pytest.raises(UnsupportedGraphError) as raised:
        lower_graph(ir.from_proto(build(case)), LoweringOptions())
    assert [node.op for node in raised.value.nodes] == ["QuantizeLinear", "DequantizeLinear"]
    assert str(raised.value).count(reason) == 2


def test_a_used_mean_of_a_layer_norm_is_refused() -> None:
    case = Case(
        "mean", "y, m = LayerNormalization(x, s)", {"x": (2, 3)}, {"s": (3,)}, outputs=("y", "m")
    )
    (refused,) = check_graph(ir.from_proto(build(case))).unsupported
    assert "the outputs Mean or InvStdDev are used; accepted: the normalized output alone" in str(
        refused
    )


def test_a_recurrent_layer_that_is_not_unrolled_is_refused_with_the_reason() -> None:
    case = Case(
        "long", "y = LSTM <hidden_size = 2> (x, w, r)", {"x": (200, 1, 3)},
        {"w": (1, 8, 3), "r": (1, 8, 2)},
    )  # fmt: skip
    (refused,) = check_graph(ir.from_proto(build(case))).unsupported
    assert (
        "its sequence has 200 steps; at most 128 are unrolled; accepted: constant weights"
        in str(refused)
    )


def test_an_output_that_no_operator_makes_is_refused() -> None:
    case = Case("mask", "y, m = Dropout(x)\nz = Cast <to = 1> (m)", IMAGE, outputs=("y", "z"))
    (refused,) = check_graph(ir.from_proto(build(case))).unsupported
    assert "its output 'm' is read, which TFLite does not make" in str(refused)


def test_empty_tensors_are_refused() -> None:
    case = Case("empty", "y = ReduceSum(x, a)", {"x": (2, 0, 4)}, {"a": ints(1)})
    (refused,) = check_graph(ir.from_proto(build(case))).unsupported
    assert "an empty tensor; accepted: tensors with elements" in str(refused)


def test_inputs_of_types_without_tensors_are_refused() -> None:
    model = build(Case("wide", "y = Neg(x)", {"x": (2, 3)}))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.UINT16
    first, second = check_graph(ir.from_proto(model)).unsupported
    assert "input (node 'x', opset 20, shapes [2,3], dtypes uint16): 'x' has type uint16" in str(
        first
    )
    assert second.op == "Neg"


LINE = (
    "c = Conv <pads = [1,1]> (x, k)\ns = Sigmoid(c)\nm = Mul(s, c)\n"
    "t = Transpose <perm = [0,2,1]> (m)\ny = LayerNormalization(t, g)"
)
PRODUCT = "a = MatMul(x, w)\nb = Transpose <perm = [0,2,1]> (x)\ny = MatMul(a, b)"
GRU = "t = Transpose <perm = [1,0,2]> (x)\ny, h = GRU <hidden_size = 3> (t, i, r)"


@pytest.mark.parametrize("body", [LINE, PRODUCT, GRU], ids=["line", "product", "gru"])
def test_a_dynamic_batch_of_other_operators(body: str) -> None:
    constants = {"k": (4, 4, 3), "g": (4,), "w": (9, 9), "i": (1, 9, 9), "r": (1, 9, 3)}
    used = {name: shape for name, shape in constants.items() if f" {name}" in body}
    case = Case("dynamic", body, {"x": ("batch", 4, 9)}, used)
    model = build(case)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    for batch in (1, 3):
        feeds = random_inputs(case, batch)
        expected = run_onnxruntime(model, feeds)["y"]
        actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= 5e-6 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_integers_at_the_border_of_the_graph(dtype: type[np.integer[Any]]) -> None:
    """Graphs whose inputs and outputs are quantized already keep their integers."""
    zero = np.array(100 if dtype is np.uint8 else -28, dtype)
    case = Case(
        "border",
        "x = DequantizeLinear(i, s, z)\nr = Relu(x)\no = QuantizeLinear(r, s, z)",
        {"i": (1, 2, 4, 4)},
        {"s": scalar(0.1), "z": zero},
        outputs=("o",),
    )
    model = build(case)
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.input[0].type.tensor_type.elem_type = kind
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    feeds = {"i": np.random.default_rng(0).integers(0, 120, (1, 2, 4, 4)).astype(dtype)}
    expected = run_onnxruntime(model, feeds)["o"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["o"]
    assert actual.dtype == expected.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(actual, expected)
    assert len(np.unique(expected)) > 5


def test_dropout_in_training_is_refused() -> None:
    case = Case("dropout", "y = Dropout(x, r, t)", IMAGE, {"r": scalar(0.5), "t": np.array(True)})
    (refused,) = check_graph(ir.from_proto(build(case))).unsupported
    assert "Dropout in training mode; accepted: training_mode absent or constantly false" in str(
        refused
    )
