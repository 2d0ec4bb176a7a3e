"""Stage summarize: everything that a run has to tell, gathered into one `RunSummary`."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

import edgekit
from edgekit.core.artifact import Artifact, ArtifactKind, size_on_disk
from edgekit.core.metadata import ModelMetadata
from edgekit.core.metrics import AccuracyReport, LatencyStats, Proportion, Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.core.pruning_summary import PruneSummary, SparsifySummary, SparsityGain
from edgekit.core.run_evidence import LayerErrorSummary, PredictionSummary
from edgekit.core.run_summary import (
    ArtifactSummary,
    EnvironmentSummary,
    QatSummary,
    QuantizationSummary,
    RunSummary,
    SourceFile,
    StepSummary,
    TargetResult,
    TrainingSummary,
)
from edgekit.core.stage import FinishedStep, Note, StageConfig, StageContext, StageResult
from edgekit.errors import InternalError
from edgekit.measure.accuracy import agreement
from edgekit.measure.device import device_name, usable_cpus
from edgekit.measure.results import BenchmarkResult, EvaluationResult
from edgekit.pipeline.inspected import inspected
from edgekit.pipeline.ledger_entry import LedgerEntry
from edgekit.pipeline.ledger_rows import ledger_rows
from edgekit.stages.lower import Verification
from edgekit.training.pruning.sparsity_gains import what_it_gains


class TargetEntry(FrozenModel):
    """Where the results of one target at one precision come from.

    Attributes:
        target: Registered name.
        title: Human name.
        precision: Numeric form.
        engine: Lowering engine.
        compute: Precision in which it computes on floating point; empty where there is no choice.
        deployment_target: Oldest system that it is made for; empty where there is no choice.
        tolerance: Largest accepted difference.
        file_name: Name in the output folder.
        lower: Id of the step that made the artifact.
        evaluate: Id of the step that evaluated it, or why there is none.
        benchmark: Id of the step that measured it, or why there is none.
    """

    target: str
    title: str
    precision: str
    engine: str
    tolerance: float
    file_name: str
    lower: str
    evaluate: str | Unavailable
    benchmark: str | Unavailable
    compute: str = ""
    deployment_target: str = ""


class SummarizeConfig(StageConfig):
    """Which input is what; inputs are named ``"<step>.<slot>"``."""

    project: str = Field(description="Name of the project.")
    model: str = Field(description="Input that is the canonical graph.")
    training: str | None = Field(None, description="Input that is the training curve.")
    reference: str | Unavailable = Field(
        description="Input that is the accuracy of the canonical graph, or why there is none."
    )
    quantization: tuple[str, ...] = Field(
        (), description="Inputs that tell how each QDQ graph came about."
    )
    qat: tuple[str, ...] = Field((), description="Inputs that tell how graphs were fine-tuned.")
    pruning: tuple[str, ...] = Field((), description="Inputs that tell what was pruned.")
    sparsifying: tuple[str, ...] = Field(
        (), description="Inputs that tell which single weights were made 0."
    )
    courses: tuple[str, ...] = Field(
        (), description="Inputs that tell how float graphs were trained on."
    )
    ledger: tuple[LedgerEntry, ...] = Field((), description="The graphs of the ledger.")
    predictions: str = Field("", description="Input that tells what was predicted, if any.")
    layer_errors: tuple[str, ...] = Field(
        (), description="Inputs that tell the errors of layers of quantized graphs."
    )
    targets: tuple[TargetEntry, ...] = Field((), description="Targets and precisions.")
    notes: tuple[Note, ...] = Field((), description="What was left out of the plan, and why.")


class SummarizeStage:
    """Gathers the results of all other steps."""

    name: ClassVar[str] = "summarize"
    version: ClassVar[int] = 2
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {"*": frozenset(ArtifactKind)}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"summary": ArtifactKind.METRICS}
    tools: ClassVar[tuple[str, ...]] = ()

    @property
    def config_type(self) -> type[SummarizeConfig]:
        """Type of the options."""
        return SummarizeConfig

    def external_files(self, config: SummarizeConfig) -> tuple[Path, ...]:
        """None: all comes from the store."""
        return ()

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: SummarizeConfig
    ) -> StageResult:
        """Writes a `RunSummary`."""
        summary = _Gathering(context, inputs, config).summary()
        path = context.workdir / "summary.json"
        path.write_text(summary.model_dump_json(indent=1), encoding="utf-8")
        return StageResult({"summary": Artifact.of(ArtifactKind.METRICS, path)})


class _Gathering:
    def __init__(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: SummarizeConfig
    ) -> None:
        self._context = context
        self._inputs = inputs
        self._config = config
        self._history = {step.id: step for step in context.history}
        self._reference = (
            config.reference
            if isinstance(config.reference, Unavailable)
            else self._read(config.reference, EvaluationResult)
        )

    def summary(self) -> RunSummary:
        config, model = self._config, self._inputs[self._config.model]
        if model.signature is None:
            raise InternalError(f"{config.model} is a model without a signature.")
        of_targets = {
            step
            for entry in config.targets
            for step in (entry.lower, entry.evaluate, entry.benchmark)
        }
        return RunSummary(
            project=config.project,
            edgekit_version=edgekit.__version__,
            seed=self._context.seed,
            sources=self._sources(),
            signature=model.signature,
            metadata=model.metadata or ModelMetadata(),
            source_graph=inspected(model, ""),
            reference_accuracy=(
                self._reference
                if isinstance(self._reference, Unavailable)
                else self._reference.accuracy
            ),
            training=(
                None if config.training is None else self._read(config.training, TrainingSummary)
            ),
            quantization=tuple(
                self._read(name, QuantizationSummary) for name in config.quantization
            ),
            qat=tuple(self._read(name, QatSummary) for name in config.qat),
            pruning=tuple(self._read(name, PruneSummary) for name in config.pruning),
            sparsifying=tuple(self._sparsified(name) for name in config.sparsifying),
            further_training=tuple(self._read(name, TrainingSummary) for name in config.courses),
            ledger=ledger_rows(config.ledger, self._inputs),
            predictions=self._predictions(),
            layer_errors=tuple(
                self._read(name, LayerErrorSummary) for name in config.layer_errors
            ),
            targets=tuple(self._target(entry) for entry in config.targets),
            steps=tuple(
                StepSummary(
                    name=step.id, key=step.key, reused=step.reused, duration_s=step.duration_s
                )
                for step in self._context.history
            ),
            environment=self._environment(),
            notes=(
                *config.notes,
                *(
                    note
                    for step in self._context.history
                    if step.id not in of_targets
                    for note in _placed(step)
                ),
            ),
        )

    def _sparsified(self, name: str) -> SparsifySummary:
        """What became 0, with what that gains on the targets, of which the stage knows none."""
        targets = dict.fromkeys(entry.target for entry in self._config.targets)
        gains = tuple(SparsityGain(target=item, text=what_it_gains(item)) for item in targets)
        return self._read(name, SparsifySummary).model_copy(update={"gains": gains})

    def _predictions(self) -> PredictionSummary | None:
        """What was predicted; None where no evaluation gave predictions."""
        if not self._config.predictions:
            return None
        found = self._read(self._config.predictions, PredictionSummary)
        return found if found.matrices else None

    def _target(self, entry: TargetEntry) -> TargetResult:
        artifact = self._inputs[f"{entry.lower}.artifact"]
        verification = self._read(f"{entry.lower}.verification", Verification)
        accuracy: AccuracyReport | Unavailable
        share: Proportion | None = None
        if isinstance(entry.evaluate, Unavailable):
            accuracy = entry.evaluate
        else:
            evaluation = self._read(f"{entry.evaluate}.metrics", EvaluationResult)
            accuracy, share = evaluation.accuracy, self._agreement(evaluation)
        latency: LatencyStats | Unavailable
        if isinstance(entry.benchmark, Unavailable):
            latency = entry.benchmark
        else:
            latency = self._read(f"{entry.benchmark}.metrics", BenchmarkResult).latency
        steps = (entry.lower, entry.evaluate, entry.benchmark)
        return TargetResult(
            target=entry.target,
            title=entry.title,
            precision=entry.precision,
            engine=entry.engine,
            compute=entry.compute,
            deployment_target=entry.deployment_target,
            artifact=ArtifactSummary(
                file_name=entry.file_name,
                size_bytes=size_on_disk(artifact.path),
                digest=artifact.digest,
                signature=artifact.signature,
                graph=inspected(artifact, entry.target),
            ),
            accuracy=accuracy,
            agreement=share,
            latency=latency,
            difference=verification.differences,
            tolerance=entry.tolerance,
            exactness=verification.exactness,
            notes=tuple(
                note
                for step in steps
                if isinstance(step, str)
                for note in _placed(self._history[step])
            ),
        )

    def _agreement(self, evaluation: EvaluationResult) -> Proportion | None:
        if isinstance(self._reference, Unavailable):
            return None
        if not evaluation.predictions or not self._reference.predictions:
            return None
        return agreement(self._reference.predictions, evaluation.predictions)

    def _sources(self) -> tuple[SourceFile, ...]:
        found: dict[tuple[str, str], SourceFile] = {}
        for step in self._context.history:
            for name, digest in step.files:
                found.setdefault(
                    (name, digest), SourceFile(role=step.id, name=name, digest=digest)
                )
        return tuple(found.values())

    def _environment(self) -> EnvironmentSummary:
        tools = {name: item for step in self._context.history for name, item in step.tools.items()}
        return EnvironmentSummary(
            device=device_name(),
            cpu_count=usable_cpus(),
            system=f"{platform.system()} {platform.machine()}",
            python=platform.python_version(),
            tools=dict(sorted(tools.items())),
        )

    def _read[ModelT: FrozenModel](self, name: str, model: type[ModelT]) -> ModelT:
        return model.model_validate_json(self._inputs[name].path.read_bytes())


def _placed(step: FinishedStep) -> tuple[Note, ...]:
    """The notes of a step, each saying at least that it comes from there."""
    return tuple(
        note if note.where else note.model_copy(update={"where": step.id}) for note in step.notes
    )
