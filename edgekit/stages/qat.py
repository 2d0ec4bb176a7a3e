"""Stage qat: a QDQ graph, its float graph and training data to a fine-tuned QDQ graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.run_summary import QatSummary
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files
from edgekit.data.image_set import spread
from edgekit.data.model_inputs import ArrayInputs, ModelInputs, open_inputs
from edgekit.measure.class_names import match_classes
from edgekit.training.qat.config import QatConfig

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.metadata import ModelMetadata
    from edgekit.data.contract import Labels
    from edgekit.graph.torch_twin import TorchTwin
    from edgekit.training.qat.result import QatResult
    from edgekit.training.qat.samples import QatSamples
    from edgekit.training.qat.task import ChosenTask

_TRIED_SAMPLES = 512
"""Samples on which the float model shows whether the labels are those it was trained for."""


class QatStageConfig(StageConfig):
    """Options of the stage."""

    scheme: str = Field("int8", description="Name of the quantization scheme.")
    data: DataSpec = Field(description="Data set to train with.")
    options: QatConfig = Field(default_factory=QatConfig, description="How to train.")


class QatStage:
    """Quantization-aware training of what post-training quantization gave."""

    name: ClassVar[str] = "qat"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.QDQ_ONNX}),
        "float": frozenset({ArtifactKind.ONNX}),
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "model": ArtifactKind.QDQ_ONNX,
        "summary": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = (
        "numpy", "onnx", "onnx-ir", "pillow", "scikit-learn", "torch",
    )  # fmt: skip

    @property
    def config_type(self) -> type[QatStageConfig]:
        """Type of the options."""
        return QatStageConfig

    def external_files(self, config: QatStageConfig) -> tuple[Path, ...]:
        """The files of the training set."""
        return data_files(config.data)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: QatStageConfig
    ) -> StageResult:
        """Trains and writes ``model.qdq.onnx`` and a `QatSummary`.

        An interrupted run goes on after its last complete epoch.

        Raises:
            UnsupportedGraphError: If torch has no form of some nodes.
            InputError: If the graph has no Q/DQ pairs, or data and model do not fit.
            GateError: If the training diverges.
        """
        from edgekit.graph.io import load_onnx, save_onnx
        from edgekit.graph.torch_twin import write_back
        from edgekit.training.qat.train import train_qat

        model, original = load_onnx(inputs["model"].path), load_onnx(inputs["float"].path)
        work = _prepare(model, original, config)
        result = train_qat(
            work.twin,
            work.samples,
            config.options.model_copy(update={"task": work.chosen.task}),
            teacher=work.teacher,
            seed=context.seed,
            progress=context.progress,
            checkpoints=context.checkpoints,
        )
        path = context.workdir / "model.qdq.onnx"
        save_onnx(write_back(result.twin, model), path)
        summary = _summary(config, context.seed, work, result)
        summary_path = context.workdir / "qat.json"
        summary_path.write_text(summary.model_dump_json(), encoding="utf-8")
        source = inputs["model"]
        return StageResult(
            artifacts={
                "model": Artifact.of(
                    ArtifactKind.QDQ_ONNX,
                    path,
                    signature=source.signature,
                    metadata=source.metadata,
                    precision=source.precision,
                ),
                "summary": Artifact.of(ArtifactKind.METRICS, summary_path),
            },
            metrics={"qat": summary.model_dump(mode="json")},
            notes=(*work.notes, *_outcome(result)),
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """What is trained with what.

    Attributes:
        twin: The quantized model.
        teacher: The float model.
        samples: Training set with the model's own class indices.
        dataset: Its name.
        chosen: The task.
        notes: Reasons for the report.
    """

    twin: TorchTwin
    teacher: TorchTwin
    samples: QatSamples
    dataset: str
    chosen: ChosenTask
    notes: tuple[Note, ...]


def _prepare(model: ir.Model, original: ir.Model, config: QatStageConfig) -> _Work:
    from edgekit.graph.io import read_metadata, signature_of
    from edgekit.graph.quantized import is_quantized
    from edgekit.graph.torch_twin import build_twin
    from edgekit.training.qat.samples import samples_of
    from edgekit.training.qat.task import LabelFacts, choose_task
    from edgekit.training.qat.teacher import teacher_twin
    from edgekit.training.qat.train import require_quantizers

    twin = build_twin(model)
    require_quantizers(twin)
    teacher = teacher_twin(original)
    signature, metadata = signature_of(model), read_metadata(model)
    source = open_inputs(config.data, signature, metadata.preprocessing)
    class_map, warnings = match_classes(source.classes, metadata.labels)
    samples = samples_of(source, signature, class_map)
    classes = len(source.classes) if class_map is None else int(class_map.max()) + 1
    facts = LabelFacts(source.name, classes, lambda: _float_accuracy(teacher, samples))
    chosen = choose_task(config.options.task, signature, facts)
    notes = [Note(text=chosen.reason)] if chosen.reason else []
    if chosen.task == "classify":
        notes += [Note(level="warning", text=text) for text in warnings]
        if isinstance(source, ArrayInputs) or source.name.endswith("/all"):
            notes.append(Note(level="warning", text=_UNDIVIDED.format(name=source.name)))
    notes += _preprocessing_notes(source, metadata)
    if is_quantized(original):
        notes.append(Note(text=_NO_FLOAT_MODEL))
    return _Work(twin, teacher, samples, source.name, chosen, tuple(notes))


_UNDIVIDED = (
    "{name} is not divided into training and test samples; accuracy that is measured on it is "
    "that of samples trained with"
)
_NO_FLOAT_MODEL = (
    "The source is quantized already, so there is no float model; compared is with its own "
    "rounded weights and activations that are not rounded"
)


def _preprocessing_notes(source: ModelInputs, metadata: ModelMetadata) -> list[Note]:
    if source.fed_raw or metadata.preprocessing is not None:
        return []
    text = "The model declares no preprocessing; it was trained on raw pixel values 0..255"
    return [Note(level="warning", text=text)]


def _float_accuracy(teacher: TorchTwin, samples: QatSamples) -> float:
    """Share of some samples that the float model gets right."""
    import torch

    from edgekit.training.qat.batching import batch_runner
    from edgekit.training.qat.samples import as_inputs
    from edgekit.training.qat.task import class_output_index, class_scores_of

    order: Labels = spread(len(samples), _TRIED_SAMPLES)
    runner = batch_runner((teacher,), samples)
    index = class_output_index(teacher.signature)
    hits = 0
    with torch.no_grad():
        for inputs, labels in samples.batches(order.tolist(), runner.piece(64)):
            scores = class_scores_of(runner.outputs(teacher, as_inputs(inputs))[index])
            hits += int((scores.argmax(dim=1) == labels).sum())
    return hits / len(order)


def _summary(config: QatStageConfig, seed: int, work: _Work, result: QatResult) -> QatSummary:
    return QatSummary(
        scheme=config.scheme,
        dataset=work.dataset,
        task=result.task,
        reason=work.chosen.reason,
        samples=len(work.samples) - result.held_out,
        held_out=result.held_out,
        seed=seed,
        curve=result.curve,
        best_epoch=result.best_epoch,
        teacher_score=result.teacher_score,
        optimizer=config.options.optimizer,
        batch_size=config.options.batch_size,
    )


def _outcome(result: QatResult) -> list[Note]:
    """A warning when training gave nothing."""
    if result.best_epoch:
        return []
    text = (
        f"Training did not help: of {len(result.curve) - 1} epochs none does better on the "
        f"{result.held_out} samples kept back than the graph before, which is kept. Try a lower "
        "qat.lr or more epochs"
    )
    return [Note(level="warning", text=text)]
