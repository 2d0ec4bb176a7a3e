"""LayerNormalization on integers against float arithmetic, and when it is chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered
from edgekit.targets.tflite.exactness.compare import compare_with_graph
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import FlatbufferModel
from edgekit.targets.tflite.lowering.integer_normalization import (
    FASTER_IN_FLOAT,
    Normalization,
    span_factors,
    write_normalization,
)
from edgekit.targets.tflite.lowering.quantization import Quantization, TensorType
from edgekit.targets.tflite.target import create_target
from tests.targets.tflite.lowering.single_op import Array, operator_counts
from tests.targets.tflite.lowering.test_quantized_products import quantized

EPSILON = 1e-5


def rows_of_any_size(length: int) -> Array:
    """Integers of rows from almost constant to saturated, and with one outlier."""
    rng = np.random.default_rng(0)
    spread = np.exp(rng.uniform(-0.5, 4, (400, 1)))
    rows = rng.standard_normal((400, length)) * spread + rng.uniform(-60, 60, (400, 1))
    outliers = rng.standard_normal((100, length)) * 3 + np.where(np.arange(length) == 3, 120, 0)
    same = np.full((1, length), 7)
    together = np.rint(np.concatenate([rows, outliers, same]))
    integers: Array = np.clip(together, -128, 127).astype(np.int8)
    return integers


@pytest.mark.parametrize("length", [16, 64, 257, 768])
@pytest.mark.parametrize("step", [0.002, 0.02, 0.5])
@pytest.mark.parametrize("affine", [True, False])
def test_one_step_from_float_arithmetic(length: int, step: float, affine: bool) -> None:
    rng = np.random.default_rng(1)
    integers, zero_point = rows_of_any_size(length), int(rng.integers(-50, 50))
    step = float(np.float32(step))
    scale = rng.uniform(0.3, 1.7, length) if affine else None
    bias = rng.standard_normal(length) * 0.3 if affine else None
    x = step * (integers.astype(np.float64) - zero_point)
    exact = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + EPSILON)
    exact = exact * (1.0 if scale is None else scale) + (0.0 if bias is None else bias)
    low, high = np.percentile(exact, [0.01, 99.99])
    out_step = float(np.float32((high - low) / 255))
    out_point = int(np.clip(np.rint(-128 - low / out_step), -128, 127))
    expected = np.clip(np.rint(exact / out_step) + out_point, -128, 127)

    model = FlatbufferModel("test")
    source = TensorType("int8", Quantization((step,), (zero_point,)))
    target = TensorType("int8", Quantization((out_step,), (out_point,)))
    tensor = model.add_tensor("x", integers.shape, source)
    what = Normalization(integers.shape, EPSILON, scale, bias, "y")
    made = write_normalization(LoweringContext(model), tensor, target, what)
    interpreter = Interpreter(model_content=model.build({"x": tensor}, {"y": made}), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], integers)
    interpreter.invoke()
    actual = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    off = np.abs(actual.astype(np.int64) - expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.06


@pytest.mark.parametrize("step", [1e-4, 0.05, 8.0])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-5, 0.5])
def test_factors_bring_rows_into_range(step: float, epsilon: float) -> None:
    factors = span_factors(step, epsilon)
    spans = np.arange(256) * step
    assert (spans * factors.factor * factors.factor_scale <= 1).all()
    share = factors.epsilon_share * factors.variance_scale
    exact = epsilon * (factors.factor * factors.factor_scale) ** 2
    np.testing.assert_allclose(share, exact, atol=factors.variance_scale / 2 + 1e-12)


def network(width: int, rows: int) -> onnx.ModelProto:
    """A normalization between Q/DQ pairs in front of a product with ``width**2`` weights."""
    rng = np.random.default_rng(2)
    constants: dict[str, Array] = {
        "s": rng.uniform(0.5, 2, width).astype(np.float32),
        "b": rng.uniform(-1, 1, width).astype(np.float32),
        "n_s": np.array(0.05, np.float32), "n_p": np.array(3, np.int8),
        "w": rng.integers(-127, 128, (width, width), dtype=np.int8),
        "w_s": np.array(0.001, np.float32), "w_p": np.array(0, np.int8),
    }  # fmt: skip
    body = (
        "n = LayerNormalization(x, s, b)\nn_i = QuantizeLinear(n, n_s, n_p)\n"
        "n_d = DequantizeLinear(n_i, n_s, n_p)\nw_d = DequantizeLinear(w, w_s, w_p)\n"
        "v = MatMul(n_d, w_d)"
    )
    return quantized(body, {"x": (rows, width)}, (7, 0, 3), constants=constants)


def counts(model: onnx.ModelProto, *, integer_only: bool = False) -> dict[str, int]:
    lowered = lower_graph(ir.from_proto(model), LoweringOptions(integer_only=integer_only))
    return dict(operator_counts(lowered.data))


def test_integers_where_the_products_take_longer() -> None:
    wide = counts(network(3000, 1))
    assert "RSQRT" not in wide
    assert wide["GATHER"] == 3
    assert counts(network(64, 4))["RSQRT"] == 1


def test_integers_where_they_are_asked_for() -> None:
    asked = counts(network(64, 4), integer_only=True)
    assert "RSQRT" not in asked
    # The border of the model alone is float; the other QUANTIZE takes 16 bits to 8.
    assert (asked["QUANTIZE"], asked["DEQUANTIZE"]) == (2, 1)


@pytest.mark.parametrize("integer_only", [True, False])
def test_the_artifact_is_exact_and_says_why_it_computes_in_float(
    tmp_path: Path, integer_only: bool
) -> None:
    graph = tmp_path / "network.qdq.onnx"
    onnx.save(network(64, 4), graph)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    config = LowerConfig(precision="int8", integer_only=integer_only)
    lowered = create_target().lower(source, config, tmp_path)
    assert isinstance(lowered, Lowered)
    report = compare_with_graph(lowered.artifact.path, graph)
    assert report.mismatches == ()
    assert report.max_lsb is not None
    assert report.max_lsb <= 1
    assert report.hidden_float_ops == ()
    if integer_only:
        assert report.float_ops == ()
    else:
        assert len(report.float_ops) == 9
        assert set(report.float_ops_by_reason()) == {FASTER_IN_FLOAT}
