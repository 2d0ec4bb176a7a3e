"""Integer weights that the runtime restores when it loads the file."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.quant import named_scheme
from edgekit.core.target import LowerConfig, Lowered
from edgekit.errors import ConfigError
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.quantization.ptq import quantize_ptq
from edgekit.targets.onnxruntime.restored_weights import restore_weights
from edgekit.targets.onnxruntime.target import create_target
from tests.targets.tflite.lowering.single_op import (
    Array,
    Case,
    build,
    random_inputs,
    run_onnxruntime,
)
from tests.targets.tflite.lowering.weight_only_graphs import Layer, build_layer

NETWORK = Case(
    "network",
    "c = Conv <pads = [1,1,1,1]> (x, k)\nr = Relu(c)\nf = Flatten(r)\n"
    "g = Gemm <transB = 1> (f, w, wb)\ny = MatMul(g, v)",
    {"x": (1, 4, 4, 4)},
    {"k": (8, 4, 3, 3), "w": (32, 128), "wb": (32,), "v": (32, 5)},
)
LAYERS = [
    Layer("conv", "y = Conv(x, w, b)", (1, 4, 9, 10), (6, 4, 3, 3), 0, 6, 1),
    Layer("one_scale", "y = Gemm(x, w, b)", (3, 20), (20, 7), 1, 7, slices=False),
    Layer("four_bits", "y = Gemm(x, w, b)", (3, 20), (20, 7), 1, 7, bits=4),
    Layer("blocks_down", "y = MatMul(x, w)", (3, 64), (64, 7), 1, 7, bits=4, block=32),
    Layer("blocks_across", "y = Gemm <transB = 1> (x, w, b)", (3, 64), (7, 64), 0, 7, bits=4,
          block=16),
]  # fmt: skip


@pytest.fixture
def qdq(tmp_path: Path) -> Path:
    """The network with 4-bit blocks where there are kernels, else 8 bits."""
    model = ir.from_proto(build(NETWORK))
    result = quantize_ptq(model, lambda: iter(()), named_scheme("int4-weights"))
    path = tmp_path / "network.qdq.onnx"
    save_onnx(result.model, path)
    return path


def lowered(graph: Path, folder: Path) -> Lowered:
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    made = create_target().lower(source, LowerConfig(precision="int4-weights"), folder)
    assert isinstance(made, Lowered)
    return made


def executed(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Operators that the runtime is left with after loading under its own options."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_same_numbers_node_by_node(layer: Layer) -> None:
    built = build_layer(layer)
    model = ir.from_proto(built.model)
    (note,) = restore_weights(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert note.startswith("1 weight tensor is stored as integers and restored")
    x = np.random.default_rng(0).uniform(-3, 3, [int(d) for d in layer.x]).astype(np.float32)
    expected = run_onnxruntime(built.model, {"x": x})["y"]
    np.testing.assert_array_equal(run_onnxruntime(after, {"x": x})["y"], expected)


def test_zero_points_are_subtracted() -> None:
    built = build_layer(LAYERS[1])
    point = next(item for item in built.model.graph.initializer if item.name == "z")
    point.int32_data[:] = [-9]
    model = ir.from_proto(built.model)
    restore_weights(model)
    x = np.ones((3, 20), np.float32)
    expected = run_onnxruntime(built.model, {"x": x})["y"]
    np.testing.assert_array_equal(run_onnxruntime(ir.to_proto(model), {"x": x})["y"], expected)


def test_the_runtime_folds_everything_and_computes_in_float32(qdq: Path, tmp_path: Path) -> None:
    before, after = onnx.load(qdq), onnx.load(lowered(qdq, tmp_path).artifact.path)
    # What the rewriting is for: without it weights are restored at every run.
    assert "DequantizeLinear" in executed(before, tmp_path)
    left = executed(after, tmp_path)
    assert not {"DequantizeLinear", "Cast", "Mul", "MatMulNBits"} & set(left)
    feeds = random_inputs(NETWORK)
    session = onnxruntime.InferenceSession(
        after.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (got,) = session.run(None, feeds)
    expected = run_onnxruntime(before, feeds)["y"]
    assert np.abs(got - expected).max() <= 2e-6 * np.ptp(expected)


def test_the_file_is_as_small_as_its_integers(qdq: Path, tmp_path: Path) -> None:
    path = lowered(qdq, tmp_path).artifact.path
    integers = {item.name: item for item in onnx.load(path).graph.initializer}
    assert integers["w/int4"].data_type == onnx.TensorProto.INT4
    assert integers["k/int8"].data_type == onnx.TensorProto.INT8
    weights = 32 * 128 // 2 + 32 * 5 // 2 + 8 * 36
    scales = 4 * (32 * 4 + 5 + 8)
    assert path.stat().st_size < weights + scales + 4500


def test_verify_finds_nothing_in_a_right_file(qdq: Path, tmp_path: Path) -> None:
    report = create_target().verify(lowered(qdq, tmp_path).artifact.path, qdq, ())
    assert isinstance(report, ExactnessReport)
    assert (report.compared_tensors, report.differing_tensors) == (3, 0)
    assert report.weights_only
    assert [name.split(" -> ")[0] for name in report.float_ops] == [
        "Conv", "Relu", "Flatten", "Gemm", "MatMul",
    ]  # fmt: skip


def spoiled(path: Path, name: str, change: Array) -> Path:
    model = load_onnx(path)
    value = model.graph.initializers[name]
    value.const_value = ir.tensor(change, name=name)
    save_onnx(model, path)
    return path


@pytest.mark.parametrize(
    ("name", "what"), [("w/int4", "integers"), ("w/dequantized/scales", "scale")]
)
def test_verify_finds_one_wrong_number(qdq: Path, tmp_path: Path, name: str, what: str) -> None:
    path = lowered(qdq, tmp_path).artifact.path
    tensor = load_onnx(path).graph.initializers[name].const_value
    assert tensor is not None
    array = tensor.numpy().copy()
    flat = array.reshape(-1)
    flat[0] = ml_dtypes.int4(-8) if what == "integers" else flat[0] * 2
    report = create_target().verify(spoiled(path, name, array), qdq, ())
    assert isinstance(report, ExactnessReport)
    (mismatch,) = report.mismatches
    assert (mismatch.value, mismatch.what) == ("w/dequantized", what)
    assert mismatch.detail.split(" of ")[0] == ("1" if what == "integers" else "32")


def test_dynamic_is_not_offered(qdq: Path, tmp_path: Path) -> None:
    source = Artifact.of(ArtifactKind.QDQ_ONNX, qdq)
    config = LowerConfig(precision="int4-weights", weight_compute="dynamic")
    with pytest.raises(ConfigError, match="weight_compute: dynamic is not offered; accepted:"):
        create_target().lower(source, config, tmp_path)
