"""Training of imported graphs as a stage: by labels, by a teacher, by both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata
from edgekit.core.run_summary import TrainingSummary
from edgekit.core.stage import StageContext, StageResult
from edgekit.core.target import LowerConfig
from edgekit.data.datasets import DataSpec
from edgekit.errors import ConfigError, GateError, InputError, UnsupportedError
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin, write_back
from edgekit.pipeline.registry import get_target
from edgekit.stages.distill import DistillStage, DistillStageConfig
from edgekit.training.distillation import DistillOptions
from tests.qat_models import badly_quantized, float_model, stripes
from tests.twin_graphs import make_model, weights
from tests.unit.test_qat_stage import stored, stripes_file

OPTIONS: dict[str, Any] = {
    "epochs": 3, "batch_size": 16, "lr": 1e-2, "threads": 1, "validation": 0.25,
    "warmup_epochs": 0, "device": "cpu",
}  # fmt: skip


def spoiled(noise: float = 0.35) -> ir.Model:
    """The classifier of stripes with noise on its weights."""
    model = float_model()
    twin = build_twin(model)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for item in twin.parameters():
            item.add_(noise * torch.randn(item.shape, generator=generator))
    return write_back(twin, model)


def run(
    folder: Path,
    data: DataSpec,
    *,
    student: ir.Model | None = None,
    teacher: ir.Model | None = None,
    stage: dict[str, Any] | None = None,
    **options: Any,
) -> StageResult:
    work = folder / f"work-{len(list(folder.iterdir()))}"
    work.mkdir()
    inputs = {"model": stored(student or spoiled(), work / "student.onnx", ArtifactKind.ONNX)}
    stage = stage or {}
    target = stage.pop("target", None)
    if teacher is not None:
        metadata = ModelMetadata(name="parent")
        inputs["teacher"] = stored(teacher, work / "parent.onnx", ArtifactKind.ONNX, metadata)
    config = DistillStageConfig(
        data=data, options=DistillOptions.model_validate({**OPTIONS, **options}), **stage
    )
    return DistillStage().run(StageContext(workdir=work, seed=1, target=target), inputs, config)


def summary_of(result: StageResult) -> TrainingSummary:
    return TrainingSummary.model_validate_json(result.artifacts["curve"].path.read_bytes())


def accuracy(model: Artifact | Path) -> float:
    samples = stripes()
    with ReferenceSession(model.path if isinstance(model, Artifact) else model) as session:
        scores = session.run({"image": samples.inputs.numpy()})["logits"]
    return float((scores.argmax(1) == samples.labels.numpy()).mean())


def test_a_spoiled_network_learns_from_labels_and_its_parent(tmp_path: Path) -> None:
    result = run(tmp_path, stripes_file(tmp_path), teacher=float_model())
    summary, made = summary_of(result), result.artifacts["model"]
    assert summary.task == "classify"
    assert summary.teacher == "parent (float graph)"
    assert summary.dataset == "stripes.npz"
    assert [point.epoch for point in summary.curve] == [1, 2, 3]
    assert summary.kept_epoch is not None
    assert accuracy(made) > 0.95
    before = tmp_path / "before.onnx"
    stored(spoiled(), before, ArtifactKind.ONNX)
    assert accuracy(before) < 0.9
    assert made.signature is not None
    # The same graph: no BatchNorm stays behind.
    ops = [node.op_type for node in ir.load(made.path).graph]
    assert ops == [node.op_type for node in float_model().graph]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_labels_alone_need_no_teacher(tmp_path: Path, batch_norm: bool) -> None:
    result = run(
        tmp_path, stripes_file(tmp_path), stage={"labels_alone": True}, batch_norm=batch_norm
    )
    assert summary_of(result).teacher == ""
    assert accuracy(result.artifacts["model"]) > 0.95


def test_without_labels_the_outputs_are_imitated(tmp_path: Path) -> None:
    result = run(tmp_path, stripes_file(tmp_path, labels=False), teacher=float_model(), epochs=6)
    summary = summary_of(result)
    assert summary.task == "imitate"
    assert summary.curve[-1].train_accuracy is None
    losses = [point.val_loss or 0 for point in summary.curve]
    assert losses[-1] < losses[0]
    assert accuracy(result.artifacts["model"]) > 0.9
    assert any("has no labels" in note.text for note in result.notes)


def test_an_artifact_teaches_in_its_own_runtime(tmp_path: Path) -> None:
    target = get_target("tflite")
    source = stored(float_model(), tmp_path / "parent.onnx", ArtifactKind.ONNX)
    lowered = target.lower(source, LowerConfig().settled_for(target.info), tmp_path)
    path = lowered.artifact.path  # type: ignore[union-attr]
    stage = {"teacher_artifact": path, "target": target}
    result = run(tmp_path, stripes_file(tmp_path), stage=dict(stage))
    assert summary_of(result).teacher.startswith(f"{path.name} (LiteRT")
    by_graph = run(tmp_path, stripes_file(tmp_path), teacher=float_model())
    assert accuracy(result.artifacts["model"]) == pytest.approx(
        accuracy(by_graph.artifacts["model"]), abs=0.02
    )
    with pytest.raises(ConfigError, match="is no graph, and no target runs it"):
        run(tmp_path, stripes_file(tmp_path), stage={"teacher_artifact": path})


def test_a_graph_of_fixed_batch_is_trained_in_batches(tmp_path: Path) -> None:
    model = ir.from_proto(ir.to_proto(spoiled()))
    model.graph.inputs[0].shape = ir.Shape([1, 1, 8, 8])
    for node in model.graph:
        for value in node.outputs:
            if value.shape is not None:
                value.shape = ir.Shape([1, *value.shape[1:]])
    result = run(tmp_path, stripes_file(tmp_path), student=model, stage={"labels_alone": True})
    assert accuracy_one_by_one(result.artifacts["model"]) > 0.95


def accuracy_one_by_one(model: Artifact) -> float:
    samples = stripes(96)
    hits = 0
    with ReferenceSession(model.path) as session:
        for image, label in zip(samples.inputs.numpy(), samples.labels.tolist(), strict=True):
            hits += int(session.run({"image": image[None]})["logits"].argmax()) == label
    return hits / 96


def test_equal_inputs_give_equal_weights_and_a_resumed_run_too(tmp_path: Path) -> None:
    data = stripes_file(tmp_path)
    digests = {
        run(tmp_path, data, teacher=float_model()).artifacts["model"].digest for _ in range(2)
    }
    assert len(digests) == 1


def test_training_for_nothing_is_told(tmp_path: Path) -> None:
    result = run(
        tmp_path, stripes_file(tmp_path), student=float_model(), teacher=float_model(), lr=1e-7,
        epochs=1,
    )  # fmt: skip
    if summary_of(result).kept_epoch == 0:
        assert any("Training did not help: of 1 epochs none" in n.text for n in result.notes)
    assert accuracy(result.artifacts["model"]) == pytest.approx(1.0, abs=0.02)


def test_what_does_not_fit_is_one_error(tmp_path: Path) -> None:
    data = stripes_file(tmp_path)
    other = make_model(
        "g (float[batch, 1, 8, 8] image) => (float[batch, 5] logits) {\n"
        "  [flat] a = Flatten (image)\n  [fc] logits = Gemm <transB = 1> (a, w, b)\n}",
        weights({"w": (5, 64), "b": (5,)}),
    )
    with pytest.raises(InputError, match=r"teacher's outputs .*5\]\) are not the student's .*3\]"):
        run(tmp_path, data, teacher=other)
    with pytest.raises(ConfigError, match="Distillation needs a teacher"):
        run(tmp_path, data)
    with pytest.raises(UnsupportedError, match="quantized graph is not trained as floats"):
        run(tmp_path, data, student=badly_quantized(), teacher=float_model())
    with pytest.raises(InputError, match="imitate' needs a teacher, and this stage has none"):
        run(tmp_path, data, stage={"labels_alone": True}, task="imitate")
    with pytest.raises(InputError, match=r"cannot be trained: stripes\.npz has no labels"):
        run(tmp_path, stripes_file(tmp_path, labels=False), stage={"labels_alone": True})
    with pytest.raises(GateError, match=r"diverged: the loss is .* in epoch 1, step"):
        run(tmp_path, data, teacher=float_model(), lr=1e30, optimizer="sgd", clip_norm=None,
            batch_norm=False)  # fmt: skip
