"""Stage distill: a canonical float graph trained on, by labels, by a teacher, or by both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.run_summary import TrainingSummary
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files
from edgekit.data.image_set import spread
from edgekit.data.model_inputs import open_inputs
from edgekit.errors import ConfigError, InputError, UnsupportedError
from edgekit.measure.class_names import match_classes
from edgekit.training.distillation import DistillOptions

if TYPE_CHECKING:
    import onnx_ir as ir
    import torch
    from torch import nn

    from edgekit.graph.torch_twin import TorchTwin
    from edgekit.training.objectives import Objective
    from edgekit.training.qat.batching import BatchRunner
    from edgekit.training.qat.task import ChosenTask
    from edgekit.training.samples import Samples
    from edgekit.training.teachers import NamedTeacher
    from edgekit.training.twin_student import TwinStudent

_STATISTICS_SAMPLES = 1024
_TRIED_SAMPLES = 512
_BATCH = 64


class DistillStageConfig(StageConfig):
    """Options of the stage."""

    step: str = Field("distill", description="Name of the step, for the report.")
    data: DataSpec = Field(description="Data set to train with.")
    teacher_artifact: Path | None = Field(
        None, description="Teacher that is an artifact, which its target's runtime executes."
    )
    labels_alone: bool = Field(False, description="Learn from labels, without a teacher.")
    options: DistillOptions = Field(default_factory=DistillOptions, description="How to train.")


class DistillStage:
    """Training of any imported network, through its torch form."""

    name: ClassVar[str] = "distill"
    version: ClassVar[int] = 3
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX}),
        "teacher": frozenset({ArtifactKind.ONNX}),
    }
    optional: ClassVar[frozenset[str]] = frozenset({"teacher"})
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "model": ArtifactKind.ONNX,
        "curve": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = (
        "numpy", "onnx", "onnx-ir", "pillow", "scikit-learn", "torch",
    )  # fmt: skip

    @property
    def config_type(self) -> type[DistillStageConfig]:
        """Type of the options."""
        return DistillStageConfig

    def external_files(self, config: DistillStageConfig) -> tuple[Path, ...]:
        """The files of the data set, and a teacher that is a file."""
        teacher = () if config.teacher_artifact is None else (config.teacher_artifact,)
        return (*data_files(config.data), *teacher)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: DistillStageConfig
    ) -> StageResult:
        """Trains and writes ``model.onnx`` and a `TrainingSummary`.

        An interrupted run goes on after its last complete epoch.

        Raises:
            UnsupportedError: If the graph is quantized, or torch has no form of some nodes.
            InputError: If data, student and teacher do not fit each other.
            GateError: If the training diverges.
        """
        from edgekit.graph.io import load_onnx, read_metadata, save_onnx, signature_of
        from edgekit.graph.torch_twin import write_back

        model = load_onnx(inputs["model"].path)
        training = _Training(context, model, inputs.get("teacher"), config)
        summary = training.run()
        path = context.workdir / "model.onnx"
        trained = write_back(training.twin, model)
        save_onnx(trained, path)
        curve = context.workdir / "curve.json"
        curve.write_text(summary.model_dump_json(), encoding="utf-8")
        artifact = Artifact.of(
            ArtifactKind.ONNX,
            path,
            signature=signature_of(trained),
            metadata=read_metadata(trained),
        )
        return StageResult(
            artifacts={"model": artifact, "curve": Artifact.of(ArtifactKind.METRICS, curve)},
            metrics={"training": summary.curve[-1].model_dump(mode="json")},
            notes=(*training.notes, *_outcome(summary)),
        )


@dataclass(frozen=True, slots=True)
class _Data:
    """Samples of the training set with the model's own class indices."""

    name: str
    samples: Samples
    classes: int


class _Training:
    """One graph that is trained in its torch form."""

    def __init__(
        self,
        context: StageContext,
        model: ir.Model,
        teacher: Artifact | None,
        config: DistillStageConfig,
    ) -> None:
        from edgekit.graph.torch_twin import build_twin
        from edgekit.training.qat.batching import batch_runner
        from edgekit.training.teachers import open_teacher

        self._context = context
        self._config = config
        self.notes: list[Note] = []
        self.twin: TorchTwin = build_twin(model)
        _require_trainable(self.twin)
        self._data = self._open(model)
        self._runner: BatchRunner = batch_runner((self.twin,), self._data.samples)
        self._teacher: NamedTeacher | None = None
        if not config.labels_alone:
            self._teacher = open_teacher(
                teacher,
                config.teacher_artifact,
                context.target,
                self.twin.signature,
                self._data.samples,
            )

    def run(self) -> TrainingSummary:
        """Trains the twin, which then fits its graph again."""
        from edgekit.training.restored_norms import fold_norms, restore_norms
        from edgekit.training.trainer import train
        from edgekit.training.twin_student import TwinStudent

        options = self._config.options
        chosen = self._task()
        if chosen.reason:
            self.notes.append(Note(text=chosen.reason))
        classifies = chosen.task == "classify"
        # A batch of one has no variance to normalise with.
        if options.batch_norm and self._runner.fixed is None:
            restore_norms(self.twin, self._run_batches, outputs=False)
        student = TwinStudent(self.twin, self._runner, classifies=classifies)
        network, objective = self._hinted(student, self._objective(classifies), classifies)
        found = train(
            network,
            self._data.samples,
            options.train_config(),
            self._context.seed,
            self._context.progress,
            self._context.checkpoints,
            objective,
            zeros_stay=options.keep_zeros,
        )
        fold_norms(self.twin)
        return TrainingSummary(
            dataset=self._data.name,
            curve=found.curve,
            parameters=sum(item.numel() for item in student.parameters() if item.requires_grad),
            optimizer=options.optimizer,
            step=self._config.step,
            teacher="" if self._teacher is None else self._teacher.name,
            task=chosen.task,
            kept_epoch=found.kept_epoch,
        )

    def _open(self, model: ir.Model) -> _Data:
        from edgekit.graph.io import read_metadata, signature_of
        from edgekit.training.qat.samples import samples_of

        signature, metadata = signature_of(model), read_metadata(model)
        if len(signature.inputs) != 1:
            names = ", ".join(str(spec) for spec in signature.inputs)
            raise InputError(
                f"Training takes networks with one input; this one has {len(signature.inputs)}: "
                f"{names}"
            )
        source = open_inputs(self._config.data, signature, metadata.preprocessing)
        class_map, warnings = match_classes(source.classes, metadata.labels)
        self.notes += [Note(level="warning", text=text) for text in warnings]
        classes = len(source.classes) if class_map is None else int(class_map.max()) + 1
        # With one input, what it gives are the trainer's samples.
        samples: Samples = samples_of(source, signature, class_map)  # type: ignore[assignment]
        return _Data(source.name, samples, classes)

    def _task(self) -> ChosenTask:
        from edgekit.training.qat.task import LabelFacts, choose_task

        wanted = self._config.options.task
        if self._config.labels_alone:
            if wanted == "imitate":
                raise InputError("task = 'imitate' needs a teacher, and this stage has none")
            wanted = "classify"
        facts = LabelFacts(
            self._data.name,
            self._data.classes,
            # With labels alone nothing depends on what the teacher predicts.
            None
            if self._teacher is None or self._config.options.alpha == 1
            else self._teacher_accuracy,
        )
        found: ChosenTask = choose_task(wanted, self.twin.signature, facts)
        return found

    def _objective(self, classifies: bool) -> Objective:
        from edgekit.training.objectives import (
            DistillationObjective,
            ImitationObjective,
            LabelObjective,
            label_loss_of,
            teacher_variances,
        )

        options = self._config.options
        label_loss = label_loss_of(options)
        if self._teacher is None or (classifies and options.alpha == 1):
            return LabelObjective(label_loss=label_loss)
        outputs = self._teacher.scores if classifies else self._teacher.outputs
        if classifies:
            return DistillationObjective(
                outputs, options.alpha, options.temperature, label_loss=label_loss
            )
        inputs = [batch for batch, _ in self._some_batches(_STATISTICS_SAMPLES)]
        return ImitationObjective(outputs, teacher_variances(outputs, inputs))

    def _hinted(
        self, student: TwinStudent, objective: Objective, classifies: bool
    ) -> tuple[nn.Module, Objective]:
        """The network and what it minimizes, with the features of layers where asked for."""
        from edgekit.training.hints import (
            HintedNetwork,
            HintObjective,
            make_regressors,
            matched_layers,
            require_maps,
        )
        from edgekit.training.objectives import module_teacher
        from edgekit.training.twin_student import TwinStudent

        options = self._config.options
        if not options.hints:
            return student, objective
        teacher = self._teacher
        if teacher is None or teacher.twin is None or teacher.runner is None:
            raise ConfigError(
                "distill.hints compare layers with those of a teacher that is a graph; this "
                f"stage's teacher is {'none' if teacher is None else teacher.name}"
            )
        layers = matched_layers(self.twin, teacher.twin, options.hints)
        runs = TwinStudent(teacher.twin, teacher.runner, classifies=classifies)
        hinting = module_teacher(HintedNetwork(runs, teacher.twin, layers))
        (inputs, _), *_ = self._some_batches(2)
        own = module_teacher(HintedNetwork(student, self.twin, layers))(inputs)[-len(layers) :]
        wanted = hinting(inputs)[-len(layers) :]
        regressors: list[nn.Module] = []
        if options.hint == "features":
            regressors = make_regressors(own, wanted, layers, self._context.seed)
        else:
            require_maps(own, wanted, layers)
        network = HintedNetwork(student, self.twin, layers, regressors)
        return network, HintObjective(
            objective, hinting, options.hint, options.hint_weight, len(layers)
        )

    def _some_batches(self, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        samples = self._data.samples
        order = spread(len(samples), count).tolist()
        return list(samples.batches(order, self._runner.piece(_BATCH)))

    def _run_batches(self, twin: TorchTwin) -> None:
        import torch

        with torch.no_grad():
            for inputs, _ in self._some_batches(_STATISTICS_SAMPLES):
                self._runner.outputs(twin, (inputs,))

    def _teacher_accuracy(self) -> float:
        """Share of some samples that the teacher gets right."""
        assert self._teacher is not None
        hits = total = 0
        for inputs, labels in self._some_batches(_TRIED_SAMPLES):
            (scores,) = self._teacher.scores(inputs)
            hits += int((scores.argmax(dim=1) == labels).sum())
            total += len(labels)
        return hits / total


def _require_trainable(twin: TorchTwin) -> None:
    if twin.quantizers():
        raise UnsupportedError(
            "A quantized graph is not trained as floats. Train the float graph, or fine-tune "
            "this one with quantize.qat = true (edgekit quantize --qat)"
        )


def _outcome(summary: TrainingSummary) -> list[Note]:
    """A warning when training gave nothing."""
    if summary.kept_epoch != 0:
        return []
    text = (
        f"Training did not help: of {len(summary.curve)} epochs none does better on the samples "
        "kept back than the graph before, which is kept. Try a lower lr or more epochs"
    )
    return [Note(level="warning", text=text)]
