"""Plans what the ledger tells of each graph: accuracy, size and latency after every stage."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.target import Target
from edgekit.pipeline.draft import Draft, LedgerGraph, LoweredStep
from edgekit.pipeline.ledger_entry import LedgerEntry
from edgekit.pipeline.model_steps import ledger_target
from edgekit.pipeline.steps import Source
from edgekit.pipeline.target_choices import lowering_config


def ledger_entries(draft: Draft) -> tuple[LedgerEntry, ...]:
    """One entry for each graph from the first float one on, with the steps that it needs.

    A run that only converts has none: its targets tell all.
    """
    project = draft.project
    changed = sum(item.form == "float32" for item in draft.history) > 1
    if not (changed or project.quantize.qat or project.schemes()):
        return ()
    # What was imported as it is may be quantized already, and then has no float form.
    made_here = changed or draft.history[0].stage == "trained"
    target = ledger_target(draft) if made_here else None
    return tuple(_entry(draft, item, target) for item in draft.history)


def _entry(draft: Draft, item: LedgerGraph, target: Target | None) -> LedgerEntry:
    lowered = None
    if target is not None and item.form in target.info.precisions:
        lowered = _lowered(draft, item, target)
    return LedgerEntry(
        form=item.form,
        stage=item.stage,
        model=str(item.graph),
        parent="" if item.parent is None else str(item.parent),
        evaluate=_evaluation(draft, item.graph),
        target="" if lowered is None or target is None else target.info.name,
        lower=None if lowered is None else lowered.lower,
        benchmark=None if lowered is None else lowered.benchmark,
    )


def _evaluation(draft: Draft, graph: Source) -> str | Unavailable:
    data = draft.evaluation_data()
    if isinstance(data, Unavailable):
        return data
    if graph not in draft.evaluations:
        step = f"evaluate-{graph.step}"
        draft.add_evaluation(step, data, None, graph)
        draft.evaluations[graph] = step
    return draft.evaluations[graph]


def _lowered(draft: Draft, item: LedgerGraph, target: Target) -> LoweredStep:
    key = (item.graph, target.info.name, item.form)
    if key in draft.lowered:
        return draft.lowered[key]
    from edgekit.stages.lower import LowerStageConfig, default_tolerance

    lowering = lowering_config(draft.project.targets[target.info.name], item.form, target.info)
    tolerance = default_tolerance(item.form, lowering.weight_compute, lowering.compute)
    config = LowerStageConfig(**lowering.model_dump(), tolerance=tolerance)
    suffix = f"{target.info.name}-{item.graph.step}"
    draft.add(f"lower-{suffix}", "lower", config, target=target, model=item.graph)
    artifact = Source(f"lower-{suffix}", "artifact")
    found = LoweredStep(artifact.step, draft.add_benchmark(suffix, target, artifact, memory=False))
    draft.lowered[key] = found
    return found
