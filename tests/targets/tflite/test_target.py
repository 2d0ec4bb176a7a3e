"""The target as the rest of edgekit sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit import __version__
from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.metrics import LatencyStats, Unavailable
from edgekit.core.quant import QuantConstraints
from edgekit.core.target import BenchConfig, LowerConfig, Lowered, RuntimeConfig, Target
from edgekit.errors import ConfigError, InputError, UnsupportedGraphError, VerificationError
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import load_onnx, save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.measure.difference import compare_outputs
from edgekit.measure.feeds import random_feeds
from edgekit.targets.tflite import INFO, runtime, verification
from edgekit.targets.tflite.metadata import read_embedded, read_label_file
from edgekit.targets.tflite.target import create_target, write_beside
from tests.targets.tflite.file_builder import classifier, weights

MODEL = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[batch, 3, 12, 16] image) => (float[batch, 5] probs) {
    c = Conv <kernel_shape = [3, 3], strides = [2, 2]> (image, w, b)
    r = Relu(c)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    l = Gemm <transB = 1> (f, v, u)
    probs = Softmax(l)
}
"""
METADATA = ModelMetadata(
    name="five things",
    preprocessing=Preprocessing(mean=(0.5,), std=(0.5,)),
    labels=("ant", "bee", "cat", "dog", "emu"),
)


def _artifact(folder: Path, text: str = MODEL) -> Artifact:
    proto = onnx.parser.parse_model(text)
    if text is MODEL:
        shapes = {"w": (8, 3, 3, 3), "b": (8,), "v": (5, 8), "u": (5,)}
        for name, shape in shapes.items():
            array = weights(*shape, seed=ord(name))
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
    raw = folder / "raw.onnx"
    onnx.save(proto, raw)
    model = canonicalize(load_onnx(raw)).model
    write_metadata(model, METADATA)
    path = folder / "model.onnx"
    save_onnx(model, path)
    return Artifact.of(ArtifactKind.ONNX, path)


def _lower(source: Artifact, folder: Path, config: LowerConfig | None = None) -> Lowered:
    lowered = create_target().lower(source, config or LowerConfig(), folder)
    assert isinstance(lowered, Lowered)
    return lowered


def test_it_is_a_target_and_loads_no_toolchain() -> None:
    target: Target = create_target()
    assert target.info is INFO
    assert (INFO.name, INFO.suffix, INFO.engines[0]) == ("tflite", ".tflite", "edgekit")
    heavy = ("ai_edge_litert", "flatbuffers", "onnx", "onnx_ir", "onnxruntime", "torch")
    script = (
        "import sys; import edgekit.targets.tflite.target as t; t.create_target().info; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 5e-3)])
def test_a_graph_is_lowered_runs_and_agrees(
    tmp_path: Path, precision: str, tolerance: float
) -> None:
    source = _artifact(tmp_path)
    before = source.path.read_bytes()
    config = LowerConfig.model_validate({"precision": precision})
    artifact = _lower(source, tmp_path, config).artifact
    assert source.path.read_bytes() == before
    assert artifact.path == tmp_path / f"five_things-{precision}.tflite"
    assert (artifact.kind, artifact.precision) == (ArtifactKind.TFLITE, precision)
    session = create_target().load(artifact.path, RuntimeConfig())
    assert not isinstance(session, Unavailable)
    assert session.signature == artifact.signature
    for batch in (1, 3):
        feeds = random_feeds(session.signature, 0, batch)
        expected = ReferenceSession(source.path).run(feeds)
        (difference,) = compare_outputs(expected, session.run(feeds))
        assert difference.relative <= tolerance


def test_the_file_bears_metadata_labels_and_origin(tmp_path: Path) -> None:
    source = _artifact(tmp_path)
    lowered = _lower(source, tmp_path)
    embedded = read_embedded(lowered.artifact.path)
    assert embedded is not None
    assert embedded.metadata == lowered.artifact.metadata == METADATA
    assert embedded.signature == lowered.artifact.signature
    assert embedded.provenance == {
        "edgekit": __version__,
        "engine": "edgekit",
        "precision": "float32",
        "source_digest": source.digest,
    }
    assert read_label_file(lowered.artifact.path.read_bytes()) == METADATA.labels
    found = create_target().inspect(lowered.artifact.path)
    assert found.details["tflite_metadata"] == "present"
    assert found.signature.inputs[0].shape == ("batch", 3, 12, 16)
    assert found.signature.inputs[0].stored_axes == (0, 2, 3, 1)


def test_lowering_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    source = _artifact(tmp_path)
    first = _lower(source, tmp_path).artifact
    second = _lower(source, tmp_path).artifact
    assert first.digest == second.digest


def test_unsupported_graphs_are_refused_and_leave_no_file(tmp_path: Path) -> None:
    text = """<ir_version: 10, opset_import: ["" : 20]>
    net (float[2, 3, 4, 4] x) => (float[2, 3] y) { a = Abs(x)  y = Det(a) }"""
    source = _artifact(tmp_path, text)
    with pytest.raises(UnsupportedGraphError, match="Det"):
        create_target().lower(source, LowerConfig(), tmp_path)
    report = create_target().check(load_onnx(source.path))
    assert [node.op for node in report.unsupported] == ["Det"]
    assert list(tmp_path.glob("*.tflite")) == []


def test_a_supported_graph_is_reported_so(tmp_path: Path) -> None:
    assert create_target().check(load_onnx(_artifact(tmp_path).path)).supported


def test_a_file_that_fails_verification_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        assert path.is_file()
        raise VerificationError("broken")

    monkeypatch.setattr(verification, "verify_structure", refuse)
    with pytest.raises(VerificationError, match="broken"):
        create_target().lower(_artifact(tmp_path), LowerConfig(), tmp_path)
    assert list(tmp_path.glob("*.tflite")) == []


def test_an_unknown_engine_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no engine 'toco'\. Known: edgekit, onnx2tf"):
        create_target().lower(_artifact(tmp_path), LowerConfig(engine="toco"), tmp_path)


def test_a_damaged_source_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"\x08\x07 not onnx")
    source = Artifact.of(ArtifactKind.ONNX, path)
    with pytest.raises(InputError, match=r"broken\.onnx"):
        create_target().lower(source, LowerConfig(), tmp_path)


def test_latency_and_memory_are_measured_with_their_conditions(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(classifier())
    found = create_target().measure(path, BenchConfig(runs=5, warmup_runs=2))
    assert isinstance(found, LatencyStats)
    assert (found.runs, found.threads, found.batch) == (5, 1, 1)
    assert 0 < found.min_ms <= found.p50_ms <= found.p90_ms
    assert "XNNPACK" in found.runtime
    assert found.peak_memory_bytes is not None


def test_memory_is_left_out_on_request(tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(classifier())
    found = create_target().measure(path, BenchConfig(runs=1, warmup_runs=0, memory=False))
    assert isinstance(found, LatencyStats)
    assert found.peak_memory_bytes is None


def test_everything_is_available_with_the_extra() -> None:
    capabilities = create_target().capabilities()
    assert capabilities.convertible is None
    assert capabilities.runnable is None
    assert capabilities.measurable is None


def test_without_the_extra_each_answer_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "RUNTIME_PACKAGE", "ai_edge_litert_absent")
    target = create_target()
    capabilities = target.capabilities()
    answers = [
        capabilities.convertible,
        capabilities.runnable,
        capabilities.measurable,
        target.load(tmp_path / "m.tflite", RuntimeConfig()),
        target.measure(tmp_path / "m.tflite", BenchConfig()),
        target.lower(_artifact(tmp_path), LowerConfig(), tmp_path),
    ]
    for answer in answers:
        assert isinstance(answer, Unavailable)
        assert "pip install 'edgekit[tflite]'" in answer.reason


def test_what_is_not_offered_yet_says_so(tmp_path: Path) -> None:
    target = create_target()
    assert target.quant_constraints() == QuantConstraints()
    answer = target.integrate(_artifact(tmp_path), tmp_path)
    assert "no application template" in answer.reason


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.tflite cannot be written: No such file"):
        write_beside(tmp_path / "absent" / "m.tflite", b"x")


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"old")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(InputError, match="No space left on device"):
        write_beside(path, b"new")
    assert [item.name for item in tmp_path.iterdir()] == ["m.tflite"]
    assert path.read_bytes() == b"old"


def test_outputs_are_finite_on_extreme_inputs(tmp_path: Path) -> None:
    artifact = _lower(_artifact(tmp_path), tmp_path).artifact
    session = create_target().load(artifact.path, RuntimeConfig())
    assert not isinstance(session, Unavailable)
    found = session.run({"image": np.full((1, 3, 12, 16), 1e4, np.float32)})["probs"]
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_second_engine_has_no_integer_weights(tmp_path: Path) -> None:
    config = LowerConfig(precision="int8-weights", engine="onnx2tf")
    source = _artifact(tmp_path, QDQ_WEIGHTS)
    with pytest.raises(ConfigError, match="lower int8-weights with --engine edgekit"):
        create_target().lower(source, config, tmp_path)


QDQ_WEIGHTS = """
<ir_version: 10, opset_import: ["" : 20]>
net (float[1, 2] x) => (float[1, 2] y)
  <int8[2, 2] q = {1, 2, 3, 4}, float s = {0.5}, int8 z = {0}>
{
    w = DequantizeLinear(q, s, z)
    y = MatMul(x, w)
}
"""


def test_integer_weights_have_no_integer_inputs(tmp_path: Path) -> None:
    config = LowerConfig(precision="int4-weights", io="int8")
    source = _artifact(tmp_path, QDQ_WEIGHTS)
    with pytest.raises(ConfigError, match="an artifact in int4-weights takes float32"):
        create_target().lower(source, config, tmp_path)
