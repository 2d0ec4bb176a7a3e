"""From a project to its plan."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.stage import Note, StageConfig
from edgekit.pipeline.draft import Draft
from edgekit.pipeline.evidence_steps import add_evidence
from edgekit.pipeline.ledger_entry import LedgerEntry
from edgekit.pipeline.ledger_steps import ledger_entries
from edgekit.pipeline.model_steps import add_model_steps
from edgekit.pipeline.project import ProjectConfig
from edgekit.pipeline.quantization_steps import check_fine_tuning, quantized_graph
from edgekit.pipeline.registry import get_stage
from edgekit.pipeline.steps import Plan, PublishedOutput, Source, Step, make_plan
from edgekit.pipeline.summarize import SummarizeConfig
from edgekit.pipeline.target_steps import add_target

__all__ = ["Plan", "build_plan"]


def build_plan(project: ProjectConfig) -> Plan:
    """Plans all steps of a project and checks them; nothing is run.

    What cannot be run or measured on this machine is left out, with its reason in the plan
    and in the report.

    Raises:
        ConfigError: If targets, precisions, engines or stages do not exist or do not go
            together; all problems are listed.
        MissingToolError: If the only problem is that targets cannot be made on this machine.
    """
    draft = Draft(project)
    draft.read_labels()
    model = add_model_steps(draft, draft.parsed_inputs())
    _add_reference(draft, model)
    for scheme in project.schemes():
        quantized_graph(draft, model, scheme)
    for name, section in project.targets.items():
        add_target(draft, name, section, model)
    check_fine_tuning(draft)
    _publish_changed(draft, model)
    ledger = () if draft.problems or draft.missing else ledger_entries(draft)
    if not (draft.problems or draft.missing):
        add_evidence(draft, model, ledger)
    draft.check_outputs()
    draft.raise_problems()
    return _finish(draft, model, ledger)


def _add_reference(draft: Draft, model: Source) -> None:
    """Evaluates the canonical graph itself, to which targets are compared."""
    data = draft.evaluation_data()
    if isinstance(data, Unavailable):
        draft.reference_reason = data.reason
        draft.notes.append(Note(where="evaluate", text=data.reason))
        return
    draft.add_evaluation("evaluate-reference", data, None, model)
    draft.evaluations[model] = "evaluate-reference"
    draft.reference = Source("evaluate-reference", "metrics")


def _publish_changed(draft: Draft, model: Source) -> None:
    """A float graph that the stages made is one of the products."""
    name = f"{draft.project.name}.onnx"
    taken = {output.name for output in draft.outputs}
    if draft.project.stages and name not in taken:
        draft.outputs.append(PublishedOutput(name, model))


def _finish(draft: Draft, model: Source, ledger: tuple[LedgerEntry, ...]) -> Plan:
    """Adds what tells of all steps, and checks the whole."""
    config = SummarizeConfig(
        project=draft.project.name,
        model=str(model),
        training=None if draft.training is None else str(draft.training),
        reference=(
            Unavailable(reason=draft.reference_reason)
            if draft.reference is None
            else str(draft.reference)
        ),
        quantization=tuple(draft.summaries),
        qat=tuple(draft.trainings),
        pruning=tuple(draft.prunings),
        sparsifying=tuple(draft.sparsifyings),
        courses=tuple(draft.courses),
        ledger=ledger,
        predictions=draft.predictions,
        layer_errors=tuple(draft.layer_errors),
        targets=tuple(draft.entries),
        notes=tuple(draft.notes),
    )
    everything = {
        f"{step.id}.{slot}": Source(step.id, slot)
        for step in draft.steps
        for slot in step.stage.produces
    }
    draft.steps.append(
        Step("summarize", get_stage("summarize"), config, everything, machine_bound=True)
    )
    summary = Source("summarize", "summary")
    if draft.project.report.enabled:
        draft.add("report", "report", StageConfig(), summary=summary)
        draft.outputs.append(PublishedOutput("report", Source("report", "report")))
    return make_plan(
        draft.steps,
        seed=draft.project.seed,
        outputs=draft.outputs,
        output_folder=draft.project.output,
        notes=draft.notes,
        summary=summary,
    )
