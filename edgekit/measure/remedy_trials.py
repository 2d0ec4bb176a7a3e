"""Trying remedies: the float graph is quantized with each, and compared like the artifact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.measure.layer_comparison import Subject, compare_layers
from edgekit.quantization.mixed_precision import Fallback, with_fallback
from edgekit.quantization.ptq import PtqOptions, PtqResult, quantize_ptq

type Array = npt.NDArray[Any]
type Feeds = Mapping[str, Array]

_BETTER_DB = 1.0
"""A remedy helps if outputs are closer to the reference by at least so much."""


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
    """

    model: ir.Model
    reference: Subject
    calibration: Callable[[], Iterator[Feeds]]
    batches: Callable[[], Iterable[InputBatch]]
    dataset: str
    scale_format: ScaleFormat = "float32"


def try_remedies(
    errors: ArtifactErrors, material: TrialMaterial, progress: Progress | None = None
) -> ArtifactErrors:
    """The comparison with what each of its remedies gave.

    What needs no quantizing, such as converting again, is not tried.

    Args:
        errors: Comparison of a quantized artifact.
        material: What to try with.
        progress: Advances by one a remedy.
    """
    scheme_name = _scheme_of(errors)
    culprit = errors.culprits[0].tensor if errors.culprits else None
    before = _figures(errors, culprit)
    tried: list[Remedy] = []
    unchanged: PtqResult | None = None
    base = before
    progress = progress or SilentProgress()
    progress.start("Try remedies", len(errors.remedies))
    for remedy in errors.remedies:
        if remedy.kind == "convert-again":
            tried.append(remedy)
            progress.advance()
            continue
        try:
            result = _quantized(remedy, material, scheme_name, unchanged)
            after = _measured(result.model, material, culprit)
        except EdgekitError as error:
            trial = RemedyTrial(before=before, problem=str(error))
        else:
            if remedy.kind == "requantize":
                unchanged, base = result, after
            compared_with = (before,) if remedy.kind == "requantize" else (before, base)
            helps = all(_better(after, other) for other in compared_with)
            trial = RemedyTrial(before=before, after=after, helps=helps)
        tried.append(remedy.model_copy(update={"trial": trial}))
        progress.advance(note=remedy.kind)
    progress.finish()
    return errors.model_copy(update={"remedies": tuple(tried)})


def _scheme_of(errors: ArtifactErrors) -> str:
    """The scheme that the artifact was made by, as its tensors show."""
    types = [layer.dtype for layer in errors.layers]
    if types.count("int16") > types.count("int8") + types.count("uint8"):
        return "int16x8"
    return "int8"


def _quantized(
    remedy: Remedy, material: TrialMaterial, scheme_name: str, unchanged: PtqResult | None
) -> PtqResult:
    scheme: QuantScheme = custom_scheme(scheme_name, scale_format=material.scale_format)
    options = PtqOptions(method="auto")
    if remedy.kind == "percentile":
        options = PtqOptions(method="percentile")
    elif remedy.kind == "minmax":
        options = PtqOptions(method="minmax")
    elif remedy.kind == "int16" and not remedy.layer:
        scheme = custom_scheme("int16x8", scale_format=material.scale_format)
    elif remedy.kind in {"int16", "keep-float"}:
        fallback: Fallback = "int16" if remedy.kind == "int16" else "float"
        scheme = with_fallback(scheme, [remedy.layer], fallback)
        chosen = [trial.name for trial in unchanged.table if trial.chosen] if unchanged else []
        if chosen:
            options = PtqOptions.model_validate({"method": chosen[0]})
    return quantize_ptq(material.model, material.calibration, scheme, options)


def _measured(model: ir.Model, material: TrialMaterial, culprit: str | None) -> TrialFigures:
    session = ObservedGraph(model, "ONNX Runtime, node by node")
    try:
        comparison = compare_layers(
            material.reference,
            [Subject("trial", "qdq", session)],
            material.batches(),
            material.dataset,
        )
    finally:
        session.close()
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
        return after.agreement.value >= before.agreement.value
    return True
