"""Plans the QDQ graphs that integer artifacts are lowered from."""

from __future__ import annotations

from contextlib import suppress

from edgekit.core.quant import ScaleFormat
from edgekit.core.stage import Note
from edgekit.core.target import INTEGER_ACTIVATIONS, Precision
from edgekit.errors import ConfigError, MissingToolError
from edgekit.pipeline.draft import Draft, LedgerGraph
from edgekit.pipeline.registry import get_target
from edgekit.pipeline.steps import PublishedOutput, Source
from edgekit.pipeline.target_choices import settled_scale_format


def quantized_graph(draft: Draft, model: Source, scheme: Precision) -> Source | None:
    """The QDQ graph that all targets of a numeric form are lowered from; planned once."""
    if scheme in draft.quantized:
        return draft.quantized[scheme]
    section = draft.project.quantize
    data = section.calibration or draft.project.data
    # Only an ONNX file can be quantized already, and then needs no data.
    needs_data = scheme in INTEGER_ACTIVATIONS and not _is_onnx(draft.project.model.source)
    if data is None and (needs_data or section.max_drop is not None):
        draft.problems.append(
            f"targets: {scheme} needs data to calibrate with; add a section [data] or "
            "[quantize.calibration] (--calibrate)"
        )
        return None
    from edgekit.stages.quantize import QuantizeConfig

    if data is not None and section.calibration is None:
        # Never the samples that accuracy is measured on.
        data = data.model_copy(update={"split": "train", "limit": None})
    step = "quantize" if scheme == "int8" else f"quantize-{scheme}"
    scale_format = _scale_format(draft, scheme, step)
    options = section.quantize_options().model_copy(update={"scale_format": scale_format})
    config = QuantizeConfig(scheme=scheme, calibration=data, options=options)
    draft.add(step, "quantize", config, model=model)
    draft.summaries.append(f"{step}.summary")
    source = _trained(draft, model, scheme, Source(step, "model"), scale_format)
    # The first, mostly the only one, has the short name.
    middle = f".{scheme}" if draft.quantized else ""
    draft.outputs.append(PublishedOutput(f"{draft.project.name}{middle}.qdq.onnx", source))
    draft.quantized[scheme] = source
    return source


def check_fine_tuning(draft: Draft) -> None:
    """Refuses to fine-tune nothing."""
    forms = ", ".join(INTEGER_ACTIVATIONS)
    if draft.project.quantize.qat and not set(draft.quantized) & set(INTEGER_ACTIVATIONS):
        draft.problems.append(
            f"quantize.qat: no graph with integer activations ({forms}) is made; name one as "
            "precision of a target or in quantize.schemes"
        )


def _scale_format(draft: Draft, scheme: Precision, step: str) -> ScaleFormat:
    """The number format of the scales of a graph, with a note of what decided."""
    infos = {}
    for name in draft.project.targets:
        # What cannot be found is told of by `add_target`.
        with suppress(ConfigError, MissingToolError):
            infos[name] = get_target(name).info
    given = draft.project.quantize.scale_format
    chosen, reason = settled_scale_format(given, scheme, draft.project.targets, infos)
    if reason:
        draft.notes.append(Note(where=step, text=reason))
    return chosen


def _trained(
    draft: Draft, model: Source, scheme: Precision, quantized: Source, scale_format: ScaleFormat
) -> Source:
    """The QDQ graph after fine-tuning, where the project asks for it."""
    draft.history.append(LedgerGraph(scheme, "PTQ", quantized, model))
    if not draft.project.quantize.qat:
        return quantized
    step = "qat" if scheme == "int8" else f"qat-{scheme}"
    if scheme not in INTEGER_ACTIVATIONS:
        text = f"{scheme} is not fine-tuned: it leaves activations in float"
        draft.notes.append(Note(where=step, text=text))
        return quantized
    from edgekit.stages.qat import QatStageConfig

    section = draft.project.qat
    data = section.data or draft.project.data or draft.project.quantize.calibration
    if data is None:
        draft.problems.append(
            "quantize.qat: fine-tuning needs data to train with; add a section [data] or "
            "[qat.data] (--data)"
        )
        return quantized
    scale_format = section.scale_format or scale_format
    config = QatStageConfig(
        scheme=scheme,
        data=data.model_copy(update={"split": "train"}),
        options=section.qat_config().model_copy(update={"scale_format": scale_format}),
    )
    draft.add(step, "qat", config, model=quantized, float=model)
    draft.trainings.append(f"{step}.summary")
    trained = Source(step, "model")
    draft.history.append(LedgerGraph(scheme, "QAT", trained, quantized))
    return trained


def _is_onnx(source: str) -> bool:
    return source.lower().endswith(".onnx")
