"""Trying remedies: the float graph is quantized with each, made anew, and compared again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.layer_error import (
    ArtifactErrors,
    Remedy,
    RemedyTrial,
    TrialFigures,
)
from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.quant import QuantScheme, ScaleFormat, custom_scheme
from edgekit.data.model_inputs import InputBatch
from edgekit.errors import EdgekitError
from edgekit.graph.observed_graph import ObservedGraph, runtime_name
from edgekit.measure.layer_comparison import Subject, compare_layers
from edgekit.quantization.mixed_precision import Fallback, with_fallback
from edgekit.quantization.ptq import PtqOptions, PtqResult, quantize_ptq

type Array = npt.NDArray[Any]
type Feeds = Mapping[str, Array]
type Maker = Callable[[ir.Model, str], AbstractContextManager[Subject]]
"""Makes an artifact of a QDQ graph and the name of its scheme, and opens it."""

_BETTER_DB = 1.0
"""A remedy helps if outputs are closer to the reference by at least so much."""


@contextmanager
def as_graph(model: ir.Model, scheme: str) -> Iterator[Subject]:
    """The QDQ graph itself, run node by node in ONNX Runtime; a `Maker`."""
    session = ObservedGraph(model, runtime_name())
    try:
        yield Subject(f"trial.{scheme}.qdq.onnx", "qdq", session)
    finally:
        session.close()


@dataclass(frozen=True, slots=True)
class TrialMaterial:
    """What trials are made with.

    Attributes:
        model: Canonical float graph of the reference; not modified.
        reference: The reference, loaded.
        calibration: Starts a pass over batches to calibrate with.
        batches: Starts a pass over the samples that artifacts were compared on.
        dataset: Their name.
        scale_format: Format of scales, as the artifact's target wants it.
        make: Makes an artifact of the form that is compared.
    """

    model: ir.Model
    reference: Subject
    calibration: Callable[[], Iterator[Feeds]]
    batches: Callable[[], Iterable[InputBatch]]
    dataset: str
    scale_format: ScaleFormat = "float32"
    make: Maker = as_graph


def try_remedies(
    errors: ArtifactErrors, material: TrialMaterial, progress: Progress | None = None
) -> ArtifactErrors:
    """The comparison with what each of its remedies gave, and the best of them marked.

    What needs no quantizing, such as converting again, is not tried.

    Args:
        errors: Comparison of a quantized artifact.
        material: What to try with.
        progress: Advances by one a remedy.
    """
    scheme = _scheme_of(errors)
    culprit = errors.culprits[0].tensor if errors.culprits else None
    method = "auto"
    tried: list[Remedy] = []
    progress = progress or SilentProgress()
    progress.start("Try remedies", len(errors.remedies))
    for remedy in errors.remedies:
        if remedy.kind == "convert-again":
            tried.append(remedy)
            progress.advance()
            continue
        try:
            result = _quantized(remedy, material, scheme, method)
            # Equalized channels hold other values than the reference's: only outputs compare.
            own = None if remedy.kind == "equalize" else culprit
            after = _measured(result.model, material, _scheme_name(remedy, scheme), own)
            before = _figures(errors, own)
        except EdgekitError as error:
            trial = RemedyTrial(before=_figures(errors, culprit), problem=str(error))
        else:
            calibration = _calibration_of(result)
            if remedy.kind == "requantize" and calibration:
                # The overrides of layers are then tried without choosing a method anew.
                method = calibration
            trial = RemedyTrial(
                before=before,
                after=after,
                helps=_better(after, before),
                calibration=calibration,
            )
        tried.append(remedy.model_copy(update={"trial": trial}))
        progress.advance(note=remedy.kind)
    progress.finish()
    return errors.model_copy(update={"remedies": _with_best(tried)})


def _scheme_of(errors: ArtifactErrors) -> str:
    """The scheme that the artifact was made by, as its tensors show."""
    types = [layer.dtype for layer in errors.layers]
    if types.count("int16") > types.count("int8") + types.count("uint8"):
        return "int16x8"
    return "int8"


def _scheme_name(remedy: Remedy, scheme: str) -> str:
    whole = remedy.kind == "int16" and not remedy.layer
    return "int16x8" if whole else scheme


def _quantized(
    remedy: Remedy, material: TrialMaterial, scheme_name: str, method: str
) -> PtqResult:
    scheme: QuantScheme = custom_scheme(
        _scheme_name(remedy, scheme_name), scale_format=material.scale_format
    )
    options: dict[str, object] = {"method": method}
    if remedy.kind in {"percentile", "minmax"}:
        options = {"method": remedy.kind}
    elif remedy.kind == "equalize":
        options = {"method": "auto", "equalize": True}
    elif remedy.layer:
        fallback: Fallback = "int16" if remedy.kind == "int16" else "float"
        scheme = with_fallback(scheme, [remedy.layer], fallback)
    return quantize_ptq(
        material.model, material.calibration, scheme, PtqOptions.model_validate(options)
    )


def _calibration_of(result: PtqResult) -> str:
    """Name of the method that found the ranges; empty where none was chosen."""
    chosen = [row.name for row in result.table if row.chosen]
    return chosen[0].partition("+")[0] if chosen else ""


def _measured(
    model: ir.Model, material: TrialMaterial, scheme: str, culprit: str | None
) -> TrialFigures:
    with material.make(model, scheme) as subject:
        comparison = compare_layers(
            material.reference, [subject], material.batches(), material.dataset
        )
    return _figures(comparison.artifacts[0], culprit)


def _figures(errors: ArtifactErrors, culprit: str | None) -> TrialFigures:
    own = None
    layers = [layer for layer in errors.layers if layer.tensor == culprit]
    if layers and layers[0].own is not None:
        own = layers[0].own.sqnr_db
    return TrialFigures(
        sqnr_db=errors.output_sqnr_db,
        own_sqnr_db=own,
        agreement=errors.agreement,
        accuracy=errors.accuracy,
    )


def _better(after: TrialFigures, before: TrialFigures) -> bool:
    """Whether outputs are closer to the reference, and no fewer samples agree with it."""
    if before.sqnr_db is None:
        return False
    if after.sqnr_db is not None and after.sqnr_db < before.sqnr_db + _BETTER_DB:
        return False
    if after.agreement is not None and before.agreement is not None:
        return after.agreement.hits >= before.agreement.hits
    return True


def _with_best(remedies: list[Remedy]) -> tuple[Remedy, ...]:
    """Marks the best: a later remedy, which costs more, has to be better by as much as helps."""
    best: int | None = None
    figures: TrialFigures | None = None
    for place, remedy in enumerate(remedies):
        trial = remedy.trial
        if trial is None or not trial.helps or trial.after is None:
            continue
        if figures is None or _better(trial.after, figures):
            best, figures = place, trial.after
    return tuple(
        remedy
        if remedy.trial is None or place != best
        else remedy.model_copy(update={"trial": remedy.trial.model_copy(update={"best": True})})
        for place, remedy in enumerate(remedies)
    )
