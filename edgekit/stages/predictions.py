"""Stage predictions: which classes were taken for which, and which samples changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import AccuracyReport
from edgekit.core.model_base import FrozenModel
from edgekit.core.run_evidence import (
    ConfusionEntry,
    ConfusionMatrix,
    Flip,
    FlippedSamples,
    PredictionSummary,
)
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files
from edgekit.data.pictures import sample_pictures
from edgekit.errors import InputError
from edgekit.measure.results import EvaluationResult

type Classes = npt.NDArray[np.int64]

_SHOWN_CLASSES = 20
_SHOWN_FLIPS = 12
"""Of each comparison: a report is to be read, and each sample brings a picture."""


class ComparedModel(FrozenModel):
    """A model whose predictions are shown.

    Attributes:
        name: What the report calls it.
        evaluate: Input that is its evaluation.
        before: Input that is the evaluation of the model it is compared with; empty for none.
        before_name: What the report calls that.
        matrix: Whether its confusion matrix is shown.
    """

    name: str
    evaluate: str
    before: str = ""
    before_name: str = ""
    matrix: bool = False


class PredictionsConfig(StageConfig):
    """Options of the stage."""

    data: DataSpec = Field(description="Data set that was evaluated on.")
    labels: tuple[str, ...] = Field((), description="Class names of the model.")
    models: tuple[ComparedModel, ...] = Field(description="What is shown, in order.")


class PredictionsStage:
    """Compares the predictions of evaluations, sample by sample."""

    name: ClassVar[str] = "predictions"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "*": frozenset({ArtifactKind.METRICS})
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"predictions": ArtifactKind.METRICS}
    tools: ClassVar[tuple[str, ...]] = ("numpy", "pillow", "scikit-learn")

    @property
    def config_type(self) -> type[PredictionsConfig]:
        """Type of the options."""
        return PredictionsConfig

    def external_files(self, config: PredictionsConfig) -> tuple[Path, ...]:
        """The files of the data set."""
        return data_files(config.data)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: PredictionsConfig
    ) -> StageResult:
        """Writes a `PredictionSummary`; one without matrices where nothing was evaluated."""
        results = {
            name: EvaluationResult.model_validate_json(artifact.path.read_bytes())
            for name, artifact in inputs.items()
        }
        summary, notes = _summary(config, results)
        path = context.workdir / "predictions.json"
        path.write_text(summary.model_dump_json(), encoding="utf-8")
        return StageResult({"predictions": Artifact.of(ArtifactKind.METRICS, path)}, notes=notes)


@dataclass(frozen=True, slots=True)
class _Evaluated:
    """Predictions that can be compared with others of the same samples."""

    dataset: str
    targets: Classes
    predictions: Classes

    @classmethod
    def of(cls, result: EvaluationResult) -> _Evaluated | None:
        if not isinstance(result.accuracy, AccuracyReport) or not result.predictions:
            return None
        return cls(
            result.accuracy.dataset, np.asarray(result.targets), np.asarray(result.predictions)
        )


def _summary(
    config: PredictionsConfig, results: Mapping[str, EvaluationResult]
) -> tuple[PredictionSummary, tuple[Note, ...]]:
    evaluated = {
        name: found for name, item in results.items() if (found := _Evaluated.of(item)) is not None
    }
    if not evaluated:
        return PredictionSummary(dataset="", samples=0, classes=0), ()
    first = next(iter(evaluated.values()))
    labels = config.labels or _class_names(config.data)
    used = [array for item in evaluated.values() for array in (item.targets, item.predictions)]
    classes = max(len(labels), int(max(array.max() for array in used)) + 1)
    shown = _classes_with_most_errors(evaluated, classes)
    flips = _all_flips(config.models, evaluated)
    samples = sorted({flip.sample for item in flips for flip in item.shown})
    notes: tuple[Note, ...] = ()
    try:
        pictures, picture_note = sample_pictures(config.data, samples)
    except InputError as error:
        pictures, picture_note = (), str(error)
        notes = (Note(text=f"Samples are not shown: {error}"),)
    summary = PredictionSummary(
        dataset=first.dataset,
        samples=len(first.targets),
        classes=classes,
        labels=labels,
        shown_classes=shown,
        matrices=_matrices(config.models, evaluated, shown),
        flips=flips,
        pictures=pictures,
        picture_note=picture_note,
    )
    return summary, notes


def _class_names(data: DataSpec) -> tuple[str, ...]:
    from edgekit.data.datasets import open_dataset

    return open_dataset(data).labels


def _classes_with_most_errors(
    evaluated: Mapping[str, _Evaluated], classes: int
) -> tuple[int, ...]:
    """All classes, or those of which most samples are wrong in any evaluation, in order."""
    if classes <= _SHOWN_CLASSES:
        return tuple(range(classes))
    errors = np.zeros(classes, dtype=np.int64)
    for item in evaluated.values():
        wrong = item.targets != item.predictions
        errors += np.bincount(item.targets[wrong], minlength=classes)
        errors += np.bincount(item.predictions[wrong], minlength=classes)
    most = np.argsort(-errors, kind="stable")[:_SHOWN_CLASSES]
    return tuple(sorted(int(index) for index in most))


def _matrices(
    models: Sequence[ComparedModel], evaluated: Mapping[str, _Evaluated], shown: Sequence[int]
) -> tuple[ConfusionMatrix, ...]:
    groups: dict[bytes, list[ComparedModel]] = {}
    for model in models:
        if model.matrix and model.evaluate in evaluated:
            groups.setdefault(evaluated[model.evaluate].predictions.tobytes(), []).append(model)
    return tuple(
        _matrix([model.name for model in group], evaluated[group[0].evaluate], shown)
        for group in groups.values()
    )


def _matrix(names: Sequence[str], item: _Evaluated, shown: Sequence[int]) -> ConfusionMatrix:
    pairs, counts = np.unique(
        np.stack([item.targets, item.predictions]), axis=1, return_counts=True
    )
    kept = set(shown)
    return ConfusionMatrix(
        models=tuple(names),
        right=int((item.targets == item.predictions).sum()),
        entries=tuple(
            ConfusionEntry(target=int(target), predicted=int(predicted), count=int(count))
            for (target, predicted), count in zip(pairs.T.tolist(), counts, strict=True)
            if target in kept and predicted in kept
        ),
    )


def _all_flips(
    models: Sequence[ComparedModel], evaluated: Mapping[str, _Evaluated]
) -> tuple[FlippedSamples, ...]:
    """One comparison for each pair of predictions that differ; models alike stand together."""
    names: dict[tuple[str, bytes], list[str]] = {}
    pairs: dict[tuple[str, bytes], tuple[_Evaluated, _Evaluated]] = {}
    for model in models:
        before, after = evaluated.get(model.before), evaluated.get(model.evaluate)
        if before is None or after is None or not np.array_equal(before.targets, after.targets):
            continue
        key = (model.before_name, after.predictions.tobytes())
        pairs[key] = (before, after)
        names.setdefault(key, []).append(model.name)
    return tuple(
        _flipped(key[0], names[key], *pair)
        for key, pair in pairs.items()
        if not np.array_equal(pair[0].predictions, pair[1].predictions)
    )


def _flipped(
    before_name: str, names: Sequence[str], before: _Evaluated, after: _Evaluated
) -> FlippedSamples:
    was, now, target = before.predictions, after.predictions, after.targets
    changed = was != now
    lost, gained = changed & (was == target), changed & (now == target)
    order = [*np.flatnonzero(lost), *np.flatnonzero(gained)]
    order += list(np.flatnonzero(changed & ~lost & ~gained))
    return FlippedSamples(
        before=before_name,
        after=tuple(names),
        gained=int(gained.sum()),
        lost=int(lost.sum()),
        changed=int(changed.sum()),
        shown=tuple(_flip(int(index), target, was, now) for index in order[:_SHOWN_FLIPS]),
    )


def _flip(index: int, target: Any, was: Any, now: Any) -> Flip:
    return Flip(
        sample=index, target=int(target[index]), before=int(was[index]), after=int(now[index])
    )
