"""Stage evaluate: accuracy of a model on a data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata
from edgekit.core.metrics import Unavailable
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.core.target import Session
from edgekit.data.datasets import DataSpec, data_files, open_dataset
from edgekit.errors import InputError
from edgekit.measure.accuracy import DEFAULT_BATCH, classify
from edgekit.measure.results import EvaluationResult, write_result
from edgekit.measure.session import REFERENCE, RUNNABLE_KINDS, open_session


class EvaluateConfig(StageConfig):
    """Options of the stage."""

    data: DataSpec = Field(description="Data set to evaluate on.")
    batch: int = Field(
        DEFAULT_BATCH, ge=1, description="Samples a run, where the model's batch is dynamic."
    )
    threads: int = Field(1, ge=1, description="Threads given to the runtime.")
    required: bool = Field(
        True, description="Fail where accuracy cannot be measured; otherwise say why."
    )


class EvaluateStage:
    """Accuracy on the target's runtime; without a target, on the reference session."""

    name: ClassVar[str] = "evaluate"
    version: ClassVar[int] = 2
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {"model": RUNNABLE_KINDS}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"metrics": ArtifactKind.METRICS}
    tools: ClassVar[tuple[str, ...]] = (
        "ai-edge-litert",
        "numpy",
        "onnxruntime",
        "pillow",
        "scikit-learn",
    )

    @property
    def config_type(self) -> type[EvaluateConfig]:
        """Type of the options."""
        return EvaluateConfig

    def external_files(self, config: EvaluateConfig) -> tuple[Path, ...]:
        """The files of the data set."""
        return data_files(config.data)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: EvaluateConfig
    ) -> StageResult:
        """Evaluates and writes an `EvaluationResult`.

        On a machine that cannot run the artifact the result says so.

        Raises:
            InputError: If the data set is missing or does not fit the model.
            VerificationError: If the model gives NaN.
        """
        model = inputs["model"]
        target = context.target.info.name if context.target else REFERENCE
        session = open_session(model, context.target, config.threads)
        if isinstance(session, Unavailable):
            warning = f"Not evaluated: {session.reason}"
            result = _not_evaluated(model, target, session.reason, warning)
        else:
            try:
                result = _evaluate(session, context, model, config, target)
            except InputError as error:
                if config.required:
                    raise
                result = _not_evaluated(model, target, _reason(config.data, error))
            finally:
                session.close()
        path = write_result(context.workdir / "evaluation.json", result)
        return StageResult(
            artifacts={"metrics": Artifact.of(ArtifactKind.METRICS, path)},
            metrics={"accuracy": result.accuracy.model_dump(mode="json")},
            notes=tuple(
                Note(level="warning", where=target, text=text) for text in result.warnings
            ),
        )


def _reason(data: DataSpec, error: InputError) -> str:
    from edgekit.data.labels import has_labels

    return str(error) if has_labels(data) else f"Data set {data.set!r} has no labels."


def _not_evaluated(model: Artifact, target: str, reason: str, *warnings: str) -> EvaluationResult:
    return EvaluationResult(
        model_digest=model.digest,
        target=target,
        precision=model.precision,
        accuracy=Unavailable(reason=reason),
        warnings=warnings,
    )


def _evaluate(
    session: Session,
    context: StageContext,
    model: Artifact,
    config: EvaluateConfig,
    target: str,
) -> EvaluationResult:
    metadata = model.metadata or ModelMetadata()
    dataset = open_dataset(config.data)
    evaluation = classify(
        session,
        dataset,
        metadata.preprocessing,
        model_labels=metadata.labels,
        progress=context.progress,
        batch=config.batch,
    )
    warnings = evaluation.warnings
    if dataset.fed_raw and metadata.preprocessing is not None:
        raw = (
            f"{dataset.name} is fed as it is; the preprocessing that the model declares is not "
            "applied."
        )
        warnings = (*warnings, raw)
    if not dataset.fed_raw and metadata.preprocessing is None:
        undeclared = "The model declares no preprocessing; raw pixel values 0..255 were fed."
        warnings = (*warnings, undeclared)
    return EvaluationResult(
        model_digest=model.digest,
        target=target,
        precision=model.precision,
        accuracy=evaluation.report,
        predictions=tuple(evaluation.predictions.tolist()),
        targets=tuple(evaluation.targets.tolist()),
        warnings=warnings,
    )
