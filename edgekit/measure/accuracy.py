"""Accuracy of a session on a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.metrics import AccuracyReport, Proportion
from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import Session
from edgekit.data.contract import Dataset, Labels
from edgekit.errors import InputError
from edgekit.measure.class_names import match_classes
from edgekit.measure.class_scores import class_output, class_scores, ranks

DEFAULT_BATCH = 32
_TOP = 5


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of `classify`.

    Attributes:
        report: The figures.
        predictions: Best class of each sample by the model's own index, ``int64[n]``.
        targets: True class of each sample by the model's own index, ``int64[n]``.
        warnings: What the user should know before trusting the figures.
    """

    report: AccuracyReport
    predictions: Labels
    targets: Labels
    warnings: tuple[str, ...] = ()


def evaluate_session(
    session: Session,
    dataset: Dataset,
    preprocessing: AnyPreprocessing | None,
    progress: Progress | None = None,
    batch: int = DEFAULT_BATCH,
) -> AccuracyReport:
    """Top-1 and top-5 accuracy; `classify` gives the predictions as well."""
    return classify(session, dataset, preprocessing, progress=progress, batch=batch).report


def classify(
    session: Session,
    dataset: Dataset,
    preprocessing: AnyPreprocessing | None,
    *,
    model_labels: tuple[str, ...] = (),
    progress: Progress | None = None,
    batch: int = DEFAULT_BATCH,
) -> Evaluation:
    """Runs a classifier over a data set.

    Of equal scores the lower class index wins, in top-1 and in top-5.

    Args:
        session: The loaded artifact.
        dataset: Samples with their classes.
        preprocessing: As the model declares it.
        model_labels: Class names by output index as the model declares them; where they are
            the data set's in another order, the classes are matched by name.
        progress: Receives the advance, in samples.
        batch: Samples a run where the model's batch is dynamic; otherwise the model decides.

    Raises:
        InputError: If the data does not fit the inputs, or no output can hold its classes.
        VerificationError: If an output holds NaN.
    """
    output = class_output(session.signature)
    class_map, warnings = match_classes(dataset.labels, model_labels)
    progress = progress or SilentProgress()
    predictions = np.empty(len(dataset), dtype=np.int64)
    targets = np.empty(len(dataset), dtype=np.int64)
    top5_hits, done, classes = 0, 0, 0
    progress.start(f"accuracy on {dataset.name}/{dataset.split}", len(dataset))
    try:
        for feeds, labels in _feeds(session.signature, dataset, preprocessing, batch):
            wanted = labels if class_map is None else class_map[labels]
            outputs = _run_padded(session, feeds, len(labels))
            scores = class_scores(outputs[output.name], output, len(labels), done)
            classes = _check_classes(scores, output, dataset, class_map)
            part = slice(done, done + len(labels))
            predictions[part] = scores.argmax(axis=1)
            targets[part] = wanted
            top5_hits += int((ranks(scores, wanted) < _TOP).sum())
            done += len(labels)
            progress.advance(len(labels))
    finally:
        progress.finish()
    if class_map is None and classes > len(dataset.labels):
        unnamed = (
            f"Output {output.name!r} has {classes} classes, the data set {len(dataset.labels)}; "
            "data set class i is taken to be output i, for no class names say otherwise."
        )
        warnings = (*warnings, unnamed)
    report = AccuracyReport(
        dataset=f"{dataset.name}/{dataset.split}",
        top1=Proportion.of(int((predictions == targets).sum()), done),
        top5=Proportion.of(top5_hits, done) if classes > _TOP else None,
        predictions_digest=predictions_digest(predictions),
        runtime=session.runtime,
    )
    return Evaluation(report, predictions, targets, warnings)


def agreement(predictions_a: npt.ArrayLike, predictions_b: npt.ArrayLike) -> Proportion:
    """Share of samples for which two artifacts predict the same class.

    Raises:
        InputError: If the two do not hold equally many samples, or none.
    """
    a, b = np.asarray(predictions_a), np.asarray(predictions_b)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise InputError(
            f"Predictions of {a.size} and of {b.size} samples cannot be compared; evaluate both "
            "artifacts on the same data set, split and limit."
        )
    return Proportion.of(int((a == b).sum()), a.size)


def predictions_digest(predictions: npt.ArrayLike) -> str:
    """sha256 (hex) over the classes as little-endian int64, in sample order."""
    return hashlib.sha256(np.asarray(predictions).astype("<i8").tobytes()).hexdigest()


def _check_classes(
    scores: npt.NDArray[Any], output: TensorSpec, dataset: Dataset, class_map: Labels | None
) -> int:
    """Number of classes of the output, which must cover those of the data set."""
    classes = int(scores.shape[1])
    needed = len(dataset.labels) if class_map is None else int(class_map.max()) + 1
    if classes < needed:
        raise InputError(
            f"Output {output} has {classes} classes, but data set {dataset.name!r} has {needed}; "
            "evaluate on the data set that the model was trained for."
        )
    return classes


def _feeds(
    signature: ModelSignature, dataset: Dataset, preprocessing: AnyPreprocessing | None, batch: int
) -> Iterator[tuple[dict[str, npt.NDArray[Any]], Labels]]:
    """Feeds for all inputs with the labels of each batch; the last may be short."""
    first = signature.inputs[0]
    fixed = first.shape[0] if first.shape else 1
    size = batch if isinstance(fixed, str) else fixed
    if len(signature.inputs) > 1 and not dataset.fed_raw:
        names = ", ".join(str(spec) for spec in signature.inputs)
        raise InputError(
            f"The model has {len(signature.inputs)} inputs ({names}), but data set "
            f"{dataset.name!r} gives samples for one; put all inputs into an .npz file."
        )
    streams = [dataset.batches(preprocessing, spec, size) for spec in signature.inputs]
    for parts in zip(*streams, strict=True):
        named = zip(signature.inputs, parts, strict=True)
        yield _padded({spec.name: part.inputs for spec, part in named}, fixed), parts[0].labels


def _padded(feeds: dict[str, npt.NDArray[Any]], fixed: int | str) -> dict[str, npt.NDArray[Any]]:
    """Fills a short last batch up to a fixed batch size by repeating its last sample."""
    if isinstance(fixed, str):
        return feeds
    return {
        name: np.concatenate([values, np.repeat(values[-1:], fixed - len(values), axis=0)])
        if len(values) < fixed
        else values
        for name, values in feeds.items()
    }


def _run_padded(
    session: Session, feeds: dict[str, npt.NDArray[Any]], samples: int
) -> dict[str, npt.NDArray[Any]]:
    """Runs and drops the results of the samples that only filled the batch."""
    fed = len(next(iter(feeds.values())))
    outputs = session.run(feeds)
    if fed == samples:
        return outputs
    return {
        name: values[:samples] if values.ndim and len(values) == fed else values
        for name, values in outputs.items()
    }
