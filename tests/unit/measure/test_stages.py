"""Stages evaluate and benchmark on a real classifier of the real digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from sklearn.linear_model import LogisticRegression

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.metrics import AccuracyReport, LatencyStats, Unavailable
from edgekit.core.stage import Stage, StageContext
from edgekit.core.target import BenchConfig, RuntimeConfig, Target, TargetInfo
from edgekit.data.datasets import DataSpec, open_dataset
from edgekit.errors import ConfigError, InputError
from edgekit.graph.io import save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.signature import signature_of
from edgekit.graph.values import add_initializer
from edgekit.measure.accuracy import agreement
from edgekit.measure.results import BenchmarkResult, EvaluationResult
from edgekit.measure.session import check_kind, open_session
from edgekit.stages.benchmark import BenchmarkConfig, BenchmarkStage
from edgekit.stages.evaluate import EvaluateConfig, EvaluateStage

DIGITS = EvaluateConfig(data=DataSpec(set="digits"))
GRAY = Preprocessing(channels="gray", mean=(0.3,), std=(0.4,))
METADATA = ModelMetadata(name="linear", preprocessing=GRAY, labels=tuple("0123456789"))
PIXELS = ("batch", 1, 8, 8)
BENCH = BenchConfig(runs=5, warmup_runs=1, memory=False)

LINEAR = """
<ir_version: 10, opset_import: ["" : 20]>
linear (float[batch, 1, 8, 8] image, float[64, 10] w, float[10] b) => (float[batch, 10] scores) {
  flat = Flatten (image)
  scores = Gemm (flat, w, b)
}
"""


def flat_digits(split: str) -> tuple[Any, Any]:
    dataset = open_dataset(DataSpec.model_validate({"set": "digits", "split": split}))
    spec = signature_of(ir.from_onnx_text(LINEAR)).inputs[0]
    (batch,) = dataset.batches(GRAY, spec, 2000)
    return batch.inputs.reshape(len(batch.labels), 64), batch.labels


@dataclass
class OnnxTarget:
    """A target that runs canonical graphs, or that this machine cannot run."""

    unavailable: Unavailable | None = None
    kind: ArtifactKind = ArtifactKind.ORT_ONNX
    sessions: list[ReferenceSession] = field(default_factory=list)

    @property
    def info(self) -> TargetInfo:
        return TargetInfo(
            name="fake", title="Fake", extra="", artifact_kind=self.kind, suffix=".onnx",
            precisions=("float32",),
        )  # fmt: skip

    def load(self, artifact: Path, config: RuntimeConfig) -> ReferenceSession | Unavailable:
        if self.unavailable:
            return self.unavailable
        self.sessions.append(ReferenceSession(artifact, threads=config.threads))
        return self.sessions[-1]

    def measure(self, artifact: Path, config: BenchConfig) -> LatencyStats | Unavailable:
        if self.unavailable:
            return self.unavailable
        return LatencyStats(
            p50_ms=1, p90_ms=2, mean_ms=1, min_ms=0.5, runs=config.runs, warmup_runs=0,
            threads=config.threads, batch=1, runtime="fake 1.0", device="none",
            notes=("peak memory was not measured: no process",),
        )  # fmt: skip


def context(workdir: Path, target: OnnxTarget | None = None) -> StageContext:
    workdir.mkdir(exist_ok=True)
    as_target: Any = target
    typed: Target | None = as_target
    return StageContext(workdir=workdir, target=typed)


@pytest.fixture(scope="module")
def classifier() -> LogisticRegression:
    return LogisticRegression(max_iter=300).fit(*flat_digits("train"))


@pytest.fixture
def model(tmp_path: Path, classifier: LogisticRegression) -> Artifact:
    graph_model = ir.from_onnx_text(LINEAR)
    graph = graph_model.graph
    arrays = {"w": classifier.coef_.T, "b": classifier.intercept_}
    for value in list(graph.inputs)[1:]:
        made = add_initializer(graph, f"{value.name}_", arrays[str(value.name)].astype(np.float32))
        ir.convenience.replace_all_uses_with(value, made)
        graph.inputs.remove(value)
    write_metadata(graph_model, METADATA)
    path = tmp_path / "linear.onnx"
    save_onnx(graph_model, path)
    signature = signature_of(graph_model)
    return Artifact.of(
        ArtifactKind.ONNX, path, signature=signature, metadata=METADATA, precision="float32"
    )


def evaluation(artifacts: Mapping[str, Artifact]) -> EvaluationResult:
    artifact = artifacts["metrics"]
    assert artifact.kind is ArtifactKind.METRICS
    return EvaluationResult.model_validate_json(artifact.path.read_bytes())


def test_accuracy_and_predictions_are_those_of_scikit_learn(
    model: Artifact, classifier: LogisticRegression, tmp_path: Path
) -> None:
    stage: Stage[EvaluateConfig] = EvaluateStage()
    result = stage.run(context(tmp_path / "work"), {"model": model}, DIGITS)
    written = evaluation(result.artifacts)
    assert isinstance(written.accuracy, AccuracyReport)
    images, labels = flat_digits("test")
    assert written.accuracy.top1.value == pytest.approx(classifier.score(images, labels))
    assert written.accuracy.top1.n == 500
    assert written.accuracy.top1.low < written.accuracy.top1.value < written.accuracy.top1.high
    assert agreement(written.predictions, classifier.predict(images)).value == 1
    assert written.accuracy.dataset == "digits/test"
    assert (written.target, written.precision) == ("reference", "float32")
    assert written.model_digest == model.digest
    assert result.metrics["accuracy"]["top1"]["n"] == 500
    assert result.notes == ()


def test_a_targets_runtime_is_used_and_closed(model: Artifact, tmp_path: Path) -> None:
    target = OnnxTarget()
    result = EvaluateStage().run(context(tmp_path / "work", target), {"model": model}, DIGITS)
    assert evaluation(result.artifacts).target == "fake"
    (session,) = target.sessions
    assert not hasattr(session, "_session")


def test_the_result_is_the_same_every_time(model: Artifact, tmp_path: Path) -> None:
    digests = {
        EvaluateStage()
        .run(context(tmp_path / name), {"model": model}, DIGITS)
        .artifacts["metrics"]
        .digest
        for name in ("a", "b")
    }
    assert len(digests) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["evaluation.json"]


def test_what_this_machine_cannot_run_is_recorded(model: Artifact, tmp_path: Path) -> None:
    target = OnnxTarget(unavailable=Unavailable(reason="needs a phone"))
    result = EvaluateStage().run(context(tmp_path / "e", target), {"model": model}, DIGITS)
    written = evaluation(result.artifacts)
    assert written.accuracy == Unavailable(reason="needs a phone")
    assert written.predictions == ()
    (note,) = result.notes
    assert (note.level, note.where, note.text) == (
        "warning",
        "fake",
        "Not evaluated: needs a phone",
    )

    config = BenchmarkConfig(bench=BENCH)
    result = BenchmarkStage().run(context(tmp_path / "b", target), {"model": model}, config)
    latency = BenchmarkResult.model_validate_json(
        result.artifacts["metrics"].path.read_bytes()
    ).latency
    assert latency == Unavailable(reason="needs a phone")
    assert result.notes[0].text == "Not measured: needs a phone"


def test_accuracy_that_is_not_required_may_be_missing(model: Artifact, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", image=np.zeros((4, 1, 8, 8), np.float32))
    config = EvaluateConfig(data=DataSpec(set=f"npz:{tmp_path / 'images.npz'}"))
    with pytest.raises(InputError, match="must hold exactly one of the keys y and labels"):
        EvaluateStage().run(context(tmp_path / "work"), {"model": model}, config)
    lenient = config.model_copy(update={"required": False})
    result = EvaluateStage().run(context(tmp_path / "work"), {"model": model}, lenient)
    written = evaluation(result.artifacts)
    assert written.accuracy == Unavailable(reason=f"Data set {config.data.set!r} has no labels.")
    assert result.notes == ()
    square = DataSpec(set="cifar10", root=tmp_path)
    with pytest.raises(InputError, match="was not found"):
        EvaluateStage().external_files(lenient.model_copy(update={"data": square}))


def test_raw_pixels_and_ignored_preprocessing_are_told(model: Artifact, tmp_path: Path) -> None:
    bare = model.model_copy(update={"metadata": None})
    result = EvaluateStage().run(context(tmp_path / "a"), {"model": bare}, DIGITS)
    assert [note.text for note in result.notes] == [
        "The model declares no preprocessing; raw pixel values 0..255 were fed."
    ]
    images, labels = flat_digits("test")
    np.savez(tmp_path / "own.npz", x=images.reshape(-1, 1, 8, 8), y=labels)
    config = EvaluateConfig(data=DataSpec(set=str(tmp_path / "own.npz")))
    raw = EvaluateStage().run(context(tmp_path / "b"), {"model": model}, config)
    assert "own.npz is fed as it is; the preprocessing" in raw.notes[0].text
    # The arrays were preprocessed before, so that the answer is the same.
    plain = EvaluateStage().run(context(tmp_path / "c"), {"model": model}, DIGITS)
    assert evaluation(raw.artifacts).predictions == evaluation(plain.artifacts).predictions


def test_benchmark_writes_size_latency_and_notes(model: Artifact, tmp_path: Path) -> None:
    stage: Stage[BenchmarkConfig] = BenchmarkStage()
    work = context(tmp_path / "work", OnnxTarget())
    result = stage.run(work, {"model": model}, BenchmarkConfig(bench=BENCH))
    written = BenchmarkResult.model_validate_json(result.artifacts["metrics"].path.read_bytes())
    assert isinstance(written.latency, LatencyStats)
    assert (written.target, written.size_bytes) == ("fake", model.path.stat().st_size)
    assert written.latency.runs == 5
    assert result.metrics["size_bytes"] == written.size_bytes
    assert result.notes[0].text == "peak memory was not measured: no process"


def test_benchmark_counts_all_files_of_a_folder(model: Artifact, tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "deep").mkdir(parents=True)
    (folder / "a").write_bytes(bytes(10))
    (folder / "deep" / "b").write_bytes(bytes(5))
    package = Artifact.of(ArtifactKind.COREML, folder)
    work = context(tmp_path / "work", OnnxTarget(kind=ArtifactKind.COREML))
    result = BenchmarkStage().run(work, {"model": package}, BenchmarkConfig(bench=BENCH))
    assert result.metrics["size_bytes"] == 15


def test_an_artifact_of_another_target_is_refused(model: Artifact, tmp_path: Path) -> None:
    tflite = model.model_copy(update={"kind": ArtifactKind.TFLITE})
    work = context(tmp_path / "work", OnnxTarget())
    with pytest.raises(ConfigError, match="'fake' runs ort-onnx artifacts, not tflite; lower"):
        EvaluateStage().run(work, {"model": tflite}, DIGITS)
    with pytest.raises(ConfigError, match="'fake' runs ort-onnx artifacts, not tflite; lower"):
        BenchmarkStage().run(work, {"model": tflite}, BenchmarkConfig(bench=BENCH))
    with pytest.raises(ConfigError, match="A tflite artifact needs its target to run"):
        open_session(tflite, None, 1)
    onnx_on_tflite: Any = OnnxTarget(kind=ArtifactKind.TFLITE)
    with pytest.raises(ConfigError, match="'fake' runs tflite artifacts, not onnx"):
        check_kind(model, onnx_on_tflite)


def test_a_benchmark_needs_a_target(model: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="benchmark step has no target"):
        BenchmarkStage().run(context(tmp_path), {"model": model}, BenchmarkConfig())


def test_external_files_are_those_of_the_data_set(tmp_path: Path) -> None:
    assert EvaluateStage().external_files(DIGITS) == ()
    assert BenchmarkStage().external_files(BenchmarkConfig()) == ()
    (tmp_path / "own.npz").write_bytes(b"")
    config = EvaluateConfig(data=DataSpec(set="own.npz", root=tmp_path))
    assert EvaluateStage().external_files(config) == (tmp_path / "own.npz",)
    with pytest.raises(InputError, match="was not found"):
        EvaluateStage().external_files(EvaluateConfig(data=DataSpec(set="mnist", root=tmp_path)))


def test_a_model_of_other_images_is_refused(model: Artifact, tmp_path: Path) -> None:
    images = np.zeros((2, 1, 9, 9), np.float32)
    np.savez(tmp_path / "own.npz", x=images, y=[0, 1])
    config = EvaluateConfig(data=DataSpec(set=str(tmp_path / "own.npz")))
    with pytest.raises(InputError, match=r"samples of \[1, 9, 9\], but input image: .* expects"):
        EvaluateStage().run(context(tmp_path / "work"), {"model": model}, config)
    assert list((tmp_path / "work").iterdir()) == []
