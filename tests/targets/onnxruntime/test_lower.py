"""Lowering: a copy for float32, halved weights for float16."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered
from edgekit.errors import ConfigError, InputError, UnsupportedError, UnsupportedGraphError
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import add_initializer
from edgekit.measure.difference import compare_outputs, random_feeds
from edgekit.targets.onnxruntime.half_weights import halve_weights
from edgekit.targets.onnxruntime.target import create_target

type Build = Callable[[], ir.Model]

FLOAT16 = LowerConfig(precision="float16")


def lowered(source: Artifact, config: LowerConfig, folder: Path) -> Lowered:
    result = create_target().lower(source, config, folder)
    assert isinstance(result, Lowered)
    return result


def test_float32_is_a_copy_under_the_models_name(source: Artifact, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    result = lowered(source, LowerConfig(), tmp_path / "out")
    assert result.artifact.digest == source.digest
    assert result.artifact.path == tmp_path / "out" / "tiny_digits-float32.onnx"
    assert result.artifact.kind is ArtifactKind.ORT_ONNX
    assert (result.artifact.precision, result.notes) == ("float32", ())
    assert result.artifact.signature == source.signature
    assert result.artifact.metadata == source.metadata
    assert os.listdir(tmp_path / "out") == ["tiny_digits-float32.onnx"]


def test_float16_halves_the_weights_and_keeps_the_answer(source: Artifact, tmp_path: Path) -> None:
    result = lowered(source, FLOAT16, tmp_path)
    before, after = source.path.stat().st_size, result.artifact.path.stat().st_size
    weights = 4 * (512 * 10 + 72)
    assert before - after == pytest.approx(weights / 2, abs=500)
    assert result.artifact.signature == source.signature
    assert result.notes == ("2 weights are stored as float16 and computed with in float32.",)
    exact, halved = ReferenceSession(source.path), ReferenceSession(result.artifact.path)
    feeds = random_feeds(exact.signature, seed=0, batch=4)
    (difference,) = compare_outputs(exact.run(feeds), halved.run(feeds))
    # Rounding to float16 is at most 2**-11 of each weight; it must be there, and small.
    assert 0 < difference.relative < 2**-10


def test_float16_computes_with_the_rounded_weights_in_float32(build_model: Build) -> None:
    rounded, halved = build_model(), build_model()
    for value in rounded.graph.initializers.values():
        assert value.const_value is not None
        array = value.const_value.numpy()
        if array.size >= 64:
            value.const_value = ir.tensor(array.astype(np.float16).astype(np.float32))
    halve_weights(halved)
    expected, got = ReferenceSession(rounded), ReferenceSession(halved)
    feeds = random_feeds(expected.signature, seed=1)
    np.testing.assert_array_equal(got.run(feeds)["scores"], expected.run(feeds)["scores"])


def test_what_float16_cannot_hold_stays_float32_with_a_reason(build_model: Build) -> None:
    model = build_model()
    weight = model.graph.initializers["weight"]
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * np.float32(1e6), name="weight")
    summary, kept = halve_weights(model)
    assert summary.startswith("1 weights")
    assert "Weight 'weight' stays float32: its largest value" in kept
    assert "beyond float16's 65504" in kept
    assert model.graph.initializers["weight"].dtype == ir.DataType.FLOAT


def test_scales_of_quantizers_stay_float32() -> None:
    model = ir.from_onnx_text("""
<ir_version: 10, opset_import: ["" : 20]>
quantized (float[1, 100] x, float[100] scale) => (float[1, 100] y) {
  q = QuantizeLinear <axis = 1> (x, scale)
  y = DequantizeLinear <axis = 1> (q, scale)
}
""")
    scale = model.graph.inputs.pop(1)
    constant = add_initializer(model.graph, "s", np.linspace(0.1, 0.2, 100, dtype=np.float32))
    ir.convenience.replace_all_uses_with(scale, constant)
    summary, kept = halve_weights(model)
    assert summary.startswith("0 weights")
    assert kept == "Weight 's' stays float32: it is a parameter of a quantizer."


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_lowering_is_deterministic_and_leaves_the_source_alone(
    source: Artifact, tmp_path: Path, precision: str
) -> None:
    config = LowerConfig.model_validate({"precision": precision})
    before = source.path.read_bytes()
    digests = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        digests.add(lowered(source, config, tmp_path / name).artifact.digest)
    assert len(digests) == 1
    assert source.path.read_bytes() == before


def test_an_unknown_engine_is_refused(source: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'onnxruntime' has a problem:\n  - engine: there is no"):
        create_target().lower(source, LowerConfig(engine="onnx2tf"), tmp_path)


def test_weights_in_their_own_file_are_refused(build_model: Build, tmp_path: Path) -> None:
    save_onnx(build_model(), tmp_path / "m.onnx", external_above_bytes=0)
    source = Artifact.of(ArtifactKind.ONNX, tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match=r"m\.onnx keeps its weights in a file"):
        create_target().lower(source, LowerConfig(), tmp_path)


def test_a_graph_that_the_runtime_refuses_is_refused_with_its_node(tmp_path: Path) -> None:
    # ONNX defines Det for float64, and ONNX Runtime has it for float32 alone.
    model = ir.from_onnx_text("""
<ir_version: 10, opset_import: ["" : 20]>
det (double[2, 2] x) => (double y) { [the_node] y = Det (x) }
""")
    report = create_target().check(model)
    (node,) = report.unsupported
    assert (node.op, node.opset, node.shapes, node.dtypes) == ("Det", 20, "[2,2]", "DOUBLE")
    assert node.reason == "its CPU kernels take tensor(float), not tensor(double)"
    save_onnx(model, tmp_path / "det.onnx")
    source = Artifact.of(ArtifactKind.ONNX, tmp_path / "det.onnx")
    with pytest.raises(UnsupportedGraphError, match=r"cannot express 1 node .*\n.*Det"):
        create_target().lower(source, LowerConfig(), tmp_path)


def test_all_nodes_without_a_kernel_are_listed() -> None:
    model = ir.from_onnx_text("""
<ir_version: 10, opset_import: ["" : 20, "com.example" : 1]>
g (float[2, 2] x) => (float[2, 2] y) {
  [one] a = com.example.Twist (x)
  [two] b = Relu (a)
  [three] y = com.example.Twist (b)
}
""")
    unsupported = create_target().check(model).unsupported
    assert [node.node for node in unsupported] == ["one", "three"]
    assert unsupported[0].op == "com.example::Twist"
    assert "has no CPU kernel for it" in unsupported[0].reason


def test_a_graph_that_is_wrong_as_a_whole_gives_the_runtimes_reason() -> None:
    model = ir.from_onnx_text("""
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3] x, float[4, 5] w) => (float[2, 5] y) { [product] y = MatMul (x, w) }
""")
    (node,) = create_target().check(model).unsupported
    assert node.node == "product"
    assert "Incompatible dimensions" in node.reason


def test_ops_that_the_runtime_expands_are_supported() -> None:
    model = ir.from_onnx_text("""
<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3] x) => (float[2, 3] y) { y = Gelu (x) }
""")
    assert create_target().check(model).supported


def test_a_folder_that_cannot_be_written_is_named(source: Artifact, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent/tiny_digits-float32\.onnx cannot be written"):
        create_target().lower(source, LowerConfig(), tmp_path / "absent")


def test_the_written_file_is_a_sound_graph(source: Artifact, tmp_path: Path) -> None:
    model = load_onnx(lowered(source, FLOAT16, tmp_path).artifact.path)
    ops = [node.op_type for node in model.graph]
    assert sorted(ops) == ["Cast", "Cast", "Conv", "Flatten", "Gemm", "Relu"]
    dtypes = {name: value.dtype for name, value in model.graph.initializers.items()}
    assert dtypes == {
        "bias": ir.DataType.FLOAT,
        "kernel_float16": ir.DataType.FLOAT16,
        "weight_float16": ir.DataType.FLOAT16,
    }
