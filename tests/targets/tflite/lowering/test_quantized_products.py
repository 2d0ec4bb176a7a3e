"""Products of two activations on integers, and those that no kernel computes right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered
from edgekit.targets.tflite.exactness.compare import compare_with_graph
from edgekit.targets.tflite.lowering import LoweringOptions, check_graph, lower_graph
from edgekit.targets.tflite.target import create_target
from tests.targets.tflite.lowering.single_op import (
    Array,
    Case,
    build,
    operator_counts,
    random_inputs,
    run_litert,
    run_onnxruntime,
    scalar,
)

STEP = 6 / 255
OUT = 0.25
KINDS = {"int8": np.int8, "int16": np.int16}


def quantized(
    body: str,
    inputs: Mapping[str, Sequence[int]],
    points: tuple[int, int, int],
    kinds: tuple[str, str, str] = ("int8", "int8", "int8"),
    constants: Mapping[str, Array] | None = None,
) -> onnx.ModelProto:
    """``v`` of ``x`` and ``z`` between Q/DQ pairs with zero points for x, z and v."""
    steps = {"int8": (STEP, OUT), "int16": (STEP / 256, OUT / 256)}
    arrays: dict[str, Array] = dict(constants or {})
    lines = []

    def pair(value: str, result: str, index: int) -> None:
        kind = kinds[index]
        arrays[f"{result}_s"] = scalar(steps[kind][index == 2])
        arrays[f"{result}_p"] = np.array(points[index], KINDS[kind])
        lines.append(f"{result}_i = QuantizeLinear({value}, {result}_s, {result}_p)")
        lines.append(f"{result} = DequantizeLinear({result}_i, {result}_s, {result}_p)")

    for index, name in enumerate(inputs):
        pair(f"{name}_raw", name, index)
    lines.append(body)
    pair("v", "y", 2)
    raw = {f"{name}_raw": shape for name, shape in inputs.items()}
    case = Case("product", "\n".join(lines), raw, arrays)
    model = build(case)
    if "int16" in kinds:
        # Opset 20 has no 16-bit integers.
        model.opset_import[0].version = 21
    return model


def check(model: onnx.ModelProto, step: float, **ops: int) -> None:
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
    }
    feeds = random_inputs(Case("feeds", "", shapes))
    expected = run_onnxruntime(model, feeds)["y"]
    for delegate in (True, False):
        actual = run_litert(lowered.data, lowered.signature, feeds, delegate=delegate)["y"]
        assert np.abs(np.rint((actual - expected) / step)).max() <= 1
    assert np.ptp(expected) > 20 * step
    counts = operator_counts(lowered.data)
    border = {"QUANTIZE", "DEQUANTIZE"}
    assert {op: n for op, n in counts.items() if op not in border} == ops


_TRANSPOSED = (
    "t = Transpose <perm = [0,2,1]> (z)\nti = QuantizeLinear(t, z_s, z_p)\n"
    "td = DequantizeLinear(ti, z_s, z_p)\nv = MatMul(x, td)"
)
INT8 = {
    "plain": ("v = MatMul(x, z)", (2, 3, 16), (2, 16, 5)),
    "repeated": ("v = MatMul(x, z)", (2, 2, 1, 3, 16), (2, 1, 2, 16, 5)),
    "second_transposed": (_TRANSPOSED, (2, 3, 16), (2, 5, 16)),
    "gemm": ("v = Gemm <transB = 1> (x, z)", (3, 16), (5, 16)),
}


@pytest.mark.parametrize("points", [(0, 0, 0), (7, 0, -12), (-128, 0, 3)], ids=str)
@pytest.mark.parametrize("name", INT8)
def test_int8_products_are_within_one_step(name: str, points: tuple[int, int, int]) -> None:
    body, x, z = INT8[name]
    check(quantized(body, {"x": x, "z": z}, points), OUT, BATCH_MATMUL=1)


def test_int16_products_are_within_one_step() -> None:
    kinds = ("int16", "int16", "int16")
    model = quantized("v = MatMul(x, z)", {"x": (2, 3, 16), "z": (2, 16, 5)}, (0, 0, 0), kinds)
    check(model, OUT / 256, BATCH_MATMUL=1)


def test_a_constant_of_rank_4_keeps_its_integers_in_any_order_of_batch_axes(
    tmp_path: Path,
) -> None:
    weights = np.random.default_rng(1).integers(-127, 128, (3, 2, 16, 5)).astype(np.int8)
    constants: dict[str, Array] = {"w": weights, "ws": scalar(0.01), "wp": np.array(0, np.int8)}
    body = (
        "t = Transpose <perm = [1,0,2,3]> (x)\nti = QuantizeLinear(t, x_s, x_p)\n"
        "td = DequantizeLinear(ti, x_s, x_p)\nwd = DequantizeLinear(w, ws, wp)\n"
        "m = MatMul(td, wd)\nmi = QuantizeLinear(m, y_s, y_p)\n"
        "md = DequantizeLinear(mi, y_s, y_p)\nv = Transpose <perm = [1,0,2,3]> (md)\n"
    )
    model = quantized(body, {"x": (2, 3, 4, 16)}, (7, 0, 3), constants=constants)
    check(model, OUT, BATCH_MATMUL=1)
    graph = tmp_path / "product.qdq.onnx"
    onnx.save(model, graph)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    lowered = create_target().lower(source, LowerConfig(precision="int8"), tmp_path)
    assert isinstance(lowered, Lowered)
    report = compare_with_graph(lowered.artifact.path, graph)
    assert (report.mismatches, report.float_ops, report.max_lsb) == ((), (), 0)


def test_a_constant_first_factor_is_fully_connected_with_a_scale_for_each_row() -> None:
    weights = np.arange(-24, 24, dtype=np.int8).reshape(3, 16)
    scales = np.array([0.02, 0.05, 0.01], np.float32)
    constants: dict[str, Array] = {"w": weights, "ws": scales, "wp": np.zeros(3, np.int8)}
    body = "wd = DequantizeLinear <axis = 0> (w, ws, wp)\nv = MatMul(wd, x)"
    model = quantized(body, {"x": (2, 16, 5)}, (7, 0, 3), constants=constants)
    check(model, OUT, TRANSPOSE=2, FULLY_CONNECTED=1)


def test_a_product_with_one_float_factor_computes_in_float() -> None:
    body = "e = Exp(z)\nv = MatMul(x, e)"
    model = quantized(body, {"x": (2, 3, 4), "z": (2, 4, 5)}, (7, 0, 3))
    check(model, OUT, EXP=1, BATCH_MATMUL=1)


def test_a_gemm_with_an_addend_computes_in_float() -> None:
    body = "v = Gemm(x, z, c)"
    constants: dict[str, Array] = {"c": np.ones(5, np.float32)}
    model = quantized(body, {"x": (3, 16), "z": (16, 5)}, (7, 4, 3), constants=constants)
    check(model, OUT, BATCH_MATMUL=1, ADD=1)


def test_a_normalization_of_quantized_values_computes_in_float() -> None:
    constants: dict[str, Array] = {"s": np.full(16, 9, np.float32), "b": np.ones(16, np.float32)}
    model = quantized(
        "v = LayerNormalization(x, s, b)", {"x": (3, 16)}, (7, 0, 3), constants=constants
    )
    check(model, OUT, MEAN=2, SUB=1, MUL=3, ADD=2, RSQRT=1)


def test_a_second_factor_with_a_zero_point_is_multiplied_in_float_and_told() -> None:
    inputs = {"x": (2, 3, 16), "z": (2, 16, 5)}
    model = quantized("v = MatMul(x, z)", inputs, (0, 5, 0))
    check(model, OUT, BATCH_MATMUL=1)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert operator_counts(lowered.data)["DEQUANTIZE"] == 3
    assert lowered.float_reasons == {
        "v": "its second factor has the zero point 5, which XNNPACK's product ignores"
    }


def test_factors_of_different_types_are_multiplied_in_float() -> None:
    inputs = {"x": (2, 3, 16), "z": (2, 16, 5)}
    model = quantized("v = MatMul(x, z)", inputs, (0, 0, 0), ("int16", "int8", "int16"))
    check(model, OUT, BATCH_MATMUL=1)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert operator_counts(lowered.data)["DEQUANTIZE"] == 3


def test_ranks_without_a_kernel_are_refused() -> None:
    case = Case("ranks", "y = MatMul(x, z)", {"x": (1, 1, 1, 1, 3, 4), "z": (4, 5, 4, 5)})
    (refused,) = check_graph(ir.from_proto(build(case))).unsupported
    assert "a product of ranks 6 and 4; accepted: ranks 2 to 5" in str(refused)
