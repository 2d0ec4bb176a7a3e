"""Layer-by-layer comparison of artifacts with a reference, whatever their formats.

Both run end to end on the same inputs: the *cumulative* error of a tensor. Then every operator
of the artifact runs on the reference's values, as the artifact can express them, and so does the
reference: what differs is the operator's *own* error; the rest of the cumulative one is inherited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.layer_error import (
    ArtifactErrors,
    ErrorFigures,
    LayerComparison,
    LayerError,
    OwnErrorParts,
)
from edgekit.core.metrics import Proportion
from edgekit.core.observation import Computed, ObservableSession, ObservedTensor, Steps
from edgekit.core.progress import Progress, SilentProgress
from edgekit.data.model_inputs import InputBatch
from edgekit.errors import InputError
from edgekit.measure.culprits import Findings, judge
from edgekit.measure.error_meter import ErrorMeter, PartsMeter, needed_step
from edgekit.measure.input_pairing import InputPairing, pair_inputs
from edgekit.measure.remedies import suggest
from edgekit.measure.tensor_matching import Match, Matching, match_tensors
from edgekit.measure.verdict import verdict_on

type Array = npt.NDArray[Any]

_SCORES_RANK = 2
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact, ready to be compared.

    Attributes:
        name: File name, or the source as it was given.
        format: Such as ``"tflite"``; see `ArtifactErrors.format`.
        session: It, loaded; the caller closes it.
    """

    name: str
    format: str
    session: ObservableSession


def compare_layers(
    reference: Subject,
    artifacts: Sequence[Subject],
    batches: Iterable[InputBatch],
    dataset: str,
    progress: Progress | None = None,
) -> LayerComparison:
    """Compares every tensor that both have.

    Args:
        reference: What is right by definition.
        artifacts: What is compared with it, at least one.
        batches: Inputs of the reference; labels are those of the model's outputs.
        dataset: Name of the data, for the result.
        progress: Advances by the samples of a batch.

    Raises:
        InputError: If there are no samples, one holds NaN or infinity, or an artifact is of
            another model: inputs that do not fit, or no tensors in common.
        UnsupportedError: If a runtime fails.
    """
    progress = progress or SilentProgress()
    runs = [_Run(reference, artifact) for artifact in artifacts]
    right = _Count()
    samples = 0
    progress.start("Compare layers", None)
    for batch in batches:
        _require_finite(batch.feeds, dataset, samples)
        values = {**batch.feeds, **reference.session.observe(batch.feeds)}
        for run in runs:
            run.update(batch, values)
        for tensor in reference.session.tensors:
            if tensor.is_output and _gives_scores(values[tensor.name]):
                right.update(batch.labels, values[tensor.name][: batch.samples].argmax(1))
        samples += batch.samples
        progress.advance(batch.samples)
    progress.finish()
    if not samples:
        raise InputError(f"Data set {dataset!r} gives no samples to compare on.")
    return LayerComparison(
        reference=reference.name,
        reference_runtime=reference.session.runtime,
        reference_accuracy=right.share(),
        dataset=dataset,
        samples=samples,
        artifacts=tuple(run.result() for run in runs),
    )


class _Count:
    """How often two vectors of classes are the same."""

    def __init__(self) -> None:
        self._hits = self._total = 0

    def update(self, wanted: Array | None, found: Array) -> None:
        """Takes in the classes of some samples; without wanted ones nothing."""
        if wanted is not None:
            self._hits += int((wanted == found).sum())
            self._total += found.size

    def share(self) -> Proportion | None:
        """The share; None where nothing was counted."""
        return Proportion.of(self._hits, self._total) if self._total else None


def _gives_scores(array: Array) -> bool:
    """Whether an output is one score for each class."""
    return array.ndim == _SCORES_RANK and array.shape[1] > 1


def _inputs(session: ObservableSession) -> tuple[ObservedTensor, ...]:
    """Inputs of floats as tensors, which an artifact may round first of all."""
    return tuple(
        ObservedTensor(name=spec.name, canonical=spec.name, stored=spec.name)
        for spec in session.signature.inputs
        if spec.dtype == "float32"
    )


def _require_finite(sample: Mapping[str, Array], dataset: str, place: int) -> None:
    for name, array in sample.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            count = int(array.size - np.isfinite(array).sum())
            raise InputError(
                f"Data set {dataset!r}, sample {place}: {count} of {array.size} values of input "
                f"{name!r} are NaN or infinite. Repair or leave out the sample; nothing can be "
                "compared on it."
            )


@dataclass(slots=True)
class _Meters:
    """What is summed up for one tensor."""

    cumulative: ErrorMeter
    own: ErrorMeter
    parts: PartsMeter | None
    missing: str = ""
    refused: bool = False


class _Run:
    """One artifact against the reference."""

    def __init__(self, reference: Subject, artifact: Subject) -> None:
        self._reference, self._artifact = reference, artifact
        self._pairing: InputPairing = pair_inputs(
            (reference.name, reference.session.signature),
            (artifact.name, artifact.session.signature),
        )
        self._matching: Matching | None = None
        self._meters: dict[str, _Meters] = {}
        self._same, self._right = _Count(), _Count()

    def update(self, batch: InputBatch, wanted: Mapping[str, Array]) -> None:
        """Takes in one run.

        Args:
            batch: Inputs of the reference.
            wanted: Its values, the inputs among them.
        """
        session = self._artifact.session
        sample, labels, count = batch.feeds, batch.labels, batch.samples
        feeds = self._pairing.feeds(sample)
        made = session.observe(feeds)
        matches = self._matches(wanted, made)
        given, expected_from = self._given(matches, wanted, made)
        computed = session.compute(feeds, given)
        expected = self._expected(sample, expected_from)
        for match in matches:
            meters = self._meters[match.tensor.name]
            reference = wanted[match.reference.name]
            value = match.to_reference(made[match.tensor.name], reference.shape)
            meters.cumulative.update(reference, value)
            if meters.parts is not None:
                meters.parts.widen(reference)
            self._update_own(match, meters, (computed, expected), count)
            if match.reference.is_output and _gives_scores(reference):
                self._same.update(reference[:count].argmax(1), value[:count].argmax(1))
                self._right.update(labels, value[:count].argmax(1))

    def _matches(
        self, wanted: Mapping[str, Array], made: Mapping[str, Array]
    ) -> tuple[Match, ...]:
        if self._matching is None:
            session = self._artifact.session
            tensors = (*_inputs(self._reference.session), *self._reference.session.tensors)
            self._matching = match_tensors(
                (tensors, wanted), (session.tensors, made), session.hidden
            )
            if not self._matching.matches:
                reasons = [f"{item.tensor}: {item.reason}" for item in self._matching.unmatched]
                raise InputError(
                    f"{self._artifact.name} and {self._reference.name} have no tensors in common, "
                    "so they are not the same model, or one does not say which values its "
                    f"tensors hold ({'; '.join(reasons[:3]) or 'it has none'})."
                )
            for match in self._matching.matches:
                steps = match.tensor.steps
                self._meters[match.tensor.name] = _Meters(
                    ErrorMeter(), ErrorMeter(), None if steps is None else PartsMeter(steps)
                )
        return self._matching.matches

    def _given(
        self, matches: Sequence[Match], wanted: Mapping[str, Array], made: Mapping[str, Array]
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """The reference's values as the artifact expresses them, in both orders."""
        session = self._artifact.session
        given: dict[str, Array] = {}
        back: dict[str, Array] = {}
        for match in matches:
            array = wanted[match.reference.name]
            if not np.isfinite(array).all():
                self._meters[match.tensor.name].missing = "the reference has NaN or infinity here"
                continue
            name = match.tensor.name
            stored = session.represent(name, match.to_artifact(array, made[name].shape))
            given[name] = stored
            # What is rounded is coarser, so it is what both have to be given.
            if match.reference.name not in back or match.tensor.steps is not None:
                back[match.reference.name] = match.to_reference(stored, array.shape)
        return given, back

    def _expected(self, sample: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        """What the reference computes of values as the artifact expresses them."""
        inputs = {name: given[name] for name in sample if name in given}
        inner = {name: array for name, array in given.items() if name not in sample}
        computed = self._reference.session.compute({**sample, **inputs}, inner)
        # An input is what it is: rounding it is the artifact's own doing.
        unchanged = {name: sample[name] for name in inputs}
        return Computed({**computed.values, **unchanged}, computed.refused)

    def _update_own(
        self, match: Match, meters: _Meters, made: tuple[Computed, Computed], samples: int
    ) -> None:
        computed, expected = made
        name, counterpart = match.tensor.name, match.reference.name
        if name in computed.values and counterpart in expected.values:
            reference = expected.values[counterpart]
            value = match.to_reference(computed.values[name], reference.shape)
            meters.own.update(reference, value)
            if meters.parts is not None:
                meters.parts.update(reference, value, samples)
        elif name in computed.refused:
            meters.missing, meters.refused = computed.refused[name], True
        elif counterpart in expected.refused:
            meters.missing = f"in the reference, {expected.refused[counterpart]}"

    def result(self) -> ArtifactErrors:
        """What was found."""
        assert self._matching is not None
        steps = _needed_steps(self._matching.matches, self._meters)
        layers = [
            _layer(match, place, self._meters[match.tensor.name], steps.get(match.tensor.name))
            for place, match in enumerate(self._matching.matches)
        ]
        judgement = judge(layers, self._findings(self._matching))
        by_values = sum(match.by_values for match in self._matching.matches)
        notes = list(self._pairing.notes)
        if by_values:
            notes.append(
                f"{by_values} tensors were matched by their values, since the artifact does not "
                "say which values they hold"
            )
        if judgement.short:
            notes.append(_of_short_ranges(judgement.short))
        errors = ArtifactErrors(
            name=self._artifact.name,
            runtime=self._artifact.session.runtime,
            format=self._artifact.format,
            layers=judgement.layers,
            ranking=judgement.ranking,
            culprits=judgement.culprits,
            verdict=verdict_on(judgement),
            agreement=self._same.share(),
            accuracy=self._right.share(),
            unmatched=self._matching.unmatched,
            notes=tuple(notes),
        )
        return errors.model_copy(update={"remedies": suggest(errors)})

    def _findings(self, matching: Matching) -> Findings:
        value_of = {match.tensor.name: match.reference.canonical for match in matching.matches}
        meters = {value_of[name]: item for name, item in self._meters.items()}
        return Findings(
            not_finite={
                name: count
                for name, item in meters.items()
                if (count := item.own.not_finite or item.cumulative.not_finite)
            },
            refused={name: item.missing for name, item in meters.items() if item.refused},
            reads={
                value_of[match.tensor.name]: tuple(
                    value_of[name] for name in match.tensor.reads if name in value_of
                )
                for match in matching.matches
            },
        )


def _of_short_ranges(tensors: Sequence[str]) -> str:
    count = "1 tensor has" if len(tensors) == 1 else f"{len(tensors)} tensors have"
    names = ", ".join(repr(tensor) for tensor in tensors[:_NAMED])
    more = " ..." if len(tensors) > _NAMED else ""
    return (
        f"{count} values beyond the range in some of the samples ({names}{more}), as after "
        "calibration on few: no fault, but calibration on more samples makes it better"
    )


def _needed_steps(matches: Sequence[Match], meters: Mapping[str, _Meters]) -> dict[str, float]:
    """Step that the values of each quantized tensor need.

    Tensors of one scale and zero point need what the widest of them does: they share it because
    kernels demand it.
    """
    needed: dict[Steps, float] = {}
    for match in matches:
        parts, steps = meters[match.tensor.name].parts, match.tensor.steps
        if parts is not None and steps is not None:
            own = needed_step(steps, parts.low, parts.high)
            needed[steps] = max(needed.get(steps, 0.0), own)
    return {
        match.tensor.name: needed[match.tensor.steps]
        for match in matches
        if match.tensor.steps in needed
    }


def _layer(match: Match, place: int, meters: _Meters, step: float | None) -> LayerError:
    tensor = match.tensor
    scale = None if tensor.steps is None else tensor.steps.scale
    own: ErrorFigures | None = None
    parts: OwnErrorParts | None = None
    share: float | None = None
    if meters.own.elements and not meters.missing:
        own = meters.own.figures(scale)
        parts = None if meters.parts is None else meters.parts.parts(step)
        if meters.cumulative.noise > 0:
            share = min(1.0, meters.own.noise / meters.cumulative.noise)
    return LayerError(
        tensor=match.reference.canonical,
        stored=tensor.stored,
        layer=match.reference.layer or tensor.layer,
        operators=tensor.operators,
        place=place,
        dtype=tensor.dtype,
        scale=scale,
        zero_point=None if tensor.steps is None else tensor.steps.zero_point,
        is_output=match.reference.is_output,
        cumulative=meters.cumulative.figures(scale),
        own=own,
        own_missing="" if own is not None else meters.missing or "it was not computed",
        own_share=share,
        parts=parts,
    )
