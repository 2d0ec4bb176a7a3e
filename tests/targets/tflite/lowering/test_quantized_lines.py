"""QDQ graphs with one spatial axis on integers, each compared tensor by tensor."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered
from edgekit.targets.tflite.exactness.compare import compare_with_graph
from edgekit.targets.tflite.target import create_target
from tests.targets.tflite.lowering.single_op import build, operator_counts
from tests.targets.tflite.lowering.test_quantized import Quantized, qdq

LINE = {"x": (2, 4, 11)}
CASES = [
    Quantized("conv", "v = Conv(x, w, b)", LINE, ((6, 4, 3), 0, 6), ops={"CONV_2D": 1}),
    Quantized(
        "conv_relu_padded",
        "c = Conv <pads = [1,1], strides = [2]> (x, w, b)\nv = Relu(c)",
        {"x": (1, 4, 8)},
        ((6, 4, 3), 0, 6),
        output=(12 / 255, -128),
        ops={"PAD": 1, "CONV_2D": 1},
    ),
    Quantized(
        "depthwise",
        "v = Conv <group = 4> (x, w, b)",
        LINE,
        ((8, 1, 3), 0, 8),
        ops={"DEPTHWISE_CONV_2D": 1},
    ),
    Quantized(
        "transposed_conv",
        "v = ConvTranspose <strides = [2]> (x, w, b)",
        LINE,
        ((4, 3, 2), 1, 3),
        ops={"TRANSPOSE_CONV": 1},
    ),
    Quantized(
        "max_pool",
        "v = MaxPool <kernel_shape = [2], strides = [2]> (x)",
        LINE,
        output=None,
        ops={"MAX_POOL_2D": 1},
    ),
    Quantized(
        "average_pool",
        "v = AveragePool <kernel_shape = [2], strides = [2]> (x)",
        LINE,
        output=None,
        ops={"AVERAGE_POOL_2D": 1},
    ),
    Quantized("mean", "v = GlobalAveragePool(x)", LINE, output=(2 / 255, 3), ops={"MEAN": 1}),
    Quantized(
        "elementwise_between_convolutions_sees_images",
        "c = Conv <pads = [1,1]> (x, w, b)\n"
        "ci = QuantizeLinear(c, in_scale, in_zero)\ncd = DequantizeLinear(ci, in_scale, in_zero)\n"
        "s = HardSwish(cd)\n"
        "si = QuantizeLinear(s, in_scale, in_zero)\nsd = DequantizeLinear(si, in_scale, in_zero)\n"
        "v = Add(sd, x)",
        LINE,
        ((4, 4, 3), 0, 4),
        ops={"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "MUL": 1, "ADD": 1},
    ),
    Quantized(
        "flattened_permutes_weights",
        "m = MaxPool <kernel_shape = [2]> (x)\n"
        "mi = QuantizeLinear(m, in_scale, in_zero)\nmd = DequantizeLinear(mi, in_scale, in_zero)\n"
        "f = Flatten(md)\n"
        "fi = QuantizeLinear(f, in_scale, in_zero)\nfd = DequantizeLinear(fi, in_scale, in_zero)\n"
        "v = Gemm <transB = 1> (fd, w, b)",
        {"x": (1, 4, 8)},
        ((5, 28), 0, 5),
        ops={"MAX_POOL_2D": 1, "FULLY_CONNECTED": 1},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_integers_scales_and_operators_are_those_of_the_graph(
    case: Quantized, tmp_path: Path
) -> None:
    graph = tmp_path / "line.qdq.onnx"
    onnx.save(build(qdq(case)), graph)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    lowered = create_target().lower(source, LowerConfig(precision="int8"), tmp_path)
    assert isinstance(lowered, Lowered)
    report = compare_with_graph(lowered.artifact.path, graph)
    assert report.mismatches == ()
    assert report.compared_tensors >= (3 if case.weights else 2)
    assert report.float_ops == ()
    assert report.max_lsb is not None
    assert report.max_lsb <= 1
    assert report.agreement == 1
    counts = operator_counts(lowered.artifact.path.read_bytes())
    border = {"QUANTIZE", "DEQUANTIZE", "RESHAPE"}
    assert {op: n for op, n in counts.items() if op not in border} == dict(case.ops)
    assert counts["RESHAPE"] <= 2
