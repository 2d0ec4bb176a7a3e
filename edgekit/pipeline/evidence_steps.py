"""Plans what the report shows besides figures: changed samples, errors of layers."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.metrics import Unavailable
from edgekit.core.stage import Note
from edgekit.pipeline.draft import Draft
from edgekit.pipeline.ledger_entry import LedgerEntry
from edgekit.pipeline.steps import Source

REFERENCE_NAME = "reference (float graph)"


def add_evidence(draft: Draft, model: Source, ledger: Sequence[LedgerEntry]) -> None:
    """Adds the steps; a project that writes no report needs none of them."""
    if not draft.project.report.enabled:
        return
    _add_predictions(draft, ledger)
    _add_layer_errors(draft, model)


def _add_predictions(draft: Draft, ledger: Sequence[LedgerEntry]) -> None:
    from edgekit.stages.predictions import ComparedModel, PredictionsConfig

    data = draft.evaluation_data()
    if isinstance(data, Unavailable) or draft.reference is None:
        return
    reference = str(draft.reference)
    models = [ComparedModel(name=REFERENCE_NAME, evaluate=reference, matrix=True)]
    evaluations = {
        entry.model: (f"{entry.stage} {entry.form}", f"{entry.evaluate}.metrics")
        for entry in ledger
        if isinstance(entry.evaluate, str)
    }
    for entry in ledger:
        if entry.model in evaluations and entry.parent in evaluations:
            name, evaluate = evaluations[entry.model]
            before_name, before = evaluations[entry.parent]
            models.append(
                ComparedModel(name=name, evaluate=evaluate, before=before, before_name=before_name)
            )
    models += [
        ComparedModel(
            name=f"{entry.target} {entry.precision}",
            evaluate=f"{entry.evaluate}.metrics",
            before=reference,
            before_name=REFERENCE_NAME,
            matrix=True,
        )
        for entry in draft.entries
        if isinstance(entry.evaluate, str)
    ]
    needed = dict.fromkeys(name for item in models for name in (item.evaluate, item.before))
    inputs = {name: Source.parsed(name) for name in needed if name}
    config = PredictionsConfig(data=data, labels=draft.labels, models=tuple(models))
    draft.add("predictions", "predictions", config, target=None, machine_bound=False, **inputs)
    draft.predictions = "predictions.predictions"


def _add_layer_errors(draft: Draft, model: Source) -> None:
    from edgekit.stages.layer_errors import LayerErrorsConfig

    project = draft.project
    data = draft.evaluation_data()
    if isinstance(data, Unavailable):
        data = project.quantize.calibration or project.data or data
    for scheme, graph in draft.quantized.items() if project.report.layer_samples else ():
        step = "layer-errors" if scheme == "int8" else f"layer-errors-{scheme}"
        if isinstance(data, Unavailable):
            text = f"Layers were not compared with the float graph: {data.reason}"
            draft.notes.append(Note(where=step, text=text))
            continue
        config = LayerErrorsConfig(
            scheme=scheme, step=graph.step, data=data, samples=project.report.layer_samples
        )
        draft.add(step, "layer_errors", config, model=graph, float=model)
        draft.layer_errors.append(f"{step}.errors")
