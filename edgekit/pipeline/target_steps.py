"""Plans the steps that lower a graph to a target, evaluate what comes out and measure it."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.stage import Note
from edgekit.core.target import QUANTIZED, Precision, Target
from edgekit.errors import ConfigError, MissingToolError
from edgekit.pipeline.draft import Draft, LoweredStep
from edgekit.pipeline.project import TargetSection
from edgekit.pipeline.quantization_steps import quantized_graph
from edgekit.pipeline.registry import get_target
from edgekit.pipeline.steps import PublishedOutput, Source
from edgekit.pipeline.summarize import TargetEntry
from edgekit.pipeline.target_choices import lowering_config


def add_target(draft: Draft, name: str, section: TargetSection, model: Source) -> None:
    """Lowers to one target, evaluates and measures, for each precision."""
    try:
        target = get_target(name)
    except MissingToolError as error:
        draft.missing.append(f"targets.{name}: {error}")
        return
    except ConfigError as error:
        draft.problems.append(f"targets.{name}: {error}")
        return
    capabilities = target.capabilities()
    if capabilities.convertible is not None:
        draft.missing.append(f"targets.{name}: {capabilities.convertible.reason}")
    problems = section.problems(target.info, section.precision)
    draft.problems += [f"targets.{name}.{item.choice}: {item.text}" for item in problems]
    for precision in section.precision:
        if precision not in target.info.precisions:
            draft.problems.append(
                f"targets.{name}.precision: {precision} is not offered; "
                f"accepted: {', '.join(target.info.precisions)}"
            )
            continue
        source = quantized_graph(draft, model, precision) if precision in QUANTIZED else model
        if source is not None and not problems:
            _add_artifact(draft, target, precision, section, source)


def _add_artifact(
    draft: Draft, target: Target, precision: Precision, section: TargetSection, model: Source
) -> None:
    from edgekit.stages.lower import LowerStageConfig, default_tolerance

    info, capabilities = target.info, target.capabilities()
    suffix = f"{info.name}-{precision}"
    lowering = lowering_config(section, precision, info)
    config = LowerStageConfig(
        **lowering.model_dump(),
        tolerance=section.tolerance
        or default_tolerance(precision, lowering.weight_compute, lowering.compute),
    )
    lower = f"lower-{suffix}"
    draft.add(lower, "lower", config, target=target, model=model)
    artifact = Source(lower, "artifact")
    data = capabilities.runnable or draft.evaluation_data()
    if isinstance(data, Unavailable):
        evaluation: str | Unavailable = data
    else:
        evaluation = f"evaluate-{suffix}"
        draft.add_evaluation(evaluation, data, target, artifact)
    file_name = draft.file_name(info, precision)
    benchmark = draft.add_benchmark(suffix, target, artifact)
    draft.lowered[model, info.name, precision] = LoweredStep(lower, benchmark)
    draft.entries.append(
        TargetEntry(
            target=info.name,
            title=info.title,
            precision=precision,
            engine=config.engine or info.engines[0],
            compute=config.compute or "",
            deployment_target=config.deployment_target or "",
            tolerance=config.tolerance,
            file_name=file_name,
            lower=lower,
            evaluate=evaluation,
            benchmark=benchmark,
        )
    )
    draft.outputs.append(PublishedOutput(file_name, artifact))
    if capabilities.runnable is not None:
        draft.notes.append(Note(where=lower, text=capabilities.runnable.reason))
