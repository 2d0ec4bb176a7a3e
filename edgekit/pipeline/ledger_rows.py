"""Gathers the ledger of a run from the results of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.core.artifact import Artifact, size_on_disk
from edgekit.core.metrics import AccuracyReport, LatencyStats, Proportion, Unavailable
from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.core.run_summary import GraphSummary, LedgerRow
from edgekit.errors import InternalError
from edgekit.measure.accuracy import agreement
from edgekit.measure.results import BenchmarkResult, EvaluationResult
from edgekit.pipeline.inspected import inspected
from edgekit.pipeline.ledger_entry import LedgerEntry
from edgekit.pipeline.steps import Source


def ledger_rows(
    entries: Sequence[LedgerEntry], inputs: Mapping[str, Artifact]
) -> tuple[LedgerRow, ...]:
    """One row an entry.

    Args:
        entries: In the order in which the graphs came about.
        inputs: What the steps gave, by ``"<step>.<slot>"``.
    """
    evaluations = {
        entry.model: EvaluationResult.model_validate_json(
            inputs[f"{entry.evaluate}.metrics"].path.read_bytes()
        )
        for entry in entries
        if isinstance(entry.evaluate, str)
    }
    first = None if not entries else evaluations.get(entries[0].model)
    return tuple(_row(entry, inputs, evaluations, first) for entry in entries)


def _row(
    entry: LedgerEntry,
    inputs: Mapping[str, Artifact],
    evaluations: Mapping[str, EvaluationResult],
    first: EvaluationResult | None,
) -> LedgerRow:
    own, parent = evaluations.get(entry.model), evaluations.get(entry.parent)
    graph = inspected(inputs[entry.model], "")
    facts = graph if isinstance(graph, GraphSummary) else None
    file = None if entry.lower is None else inputs[f"{entry.lower}.artifact"].path
    return LedgerRow(
        form=entry.form,
        stage=entry.stage,
        accuracy=_accuracy(entry, own),
        agreement=None if own is None or first is None else _same(first, own),
        step=Source.parsed(entry.model).step,
        parent=Source.parsed(entry.parent).step,
        paired=None if own is None or parent is None else _paired(parent, own),
        macs=None if facts is None else facts.macs,
        parameters=None if facts is None else facts.parameters,
        size_bytes=None if file is None else size_on_disk(file),
        latency=_latency(entry, inputs),
        target=entry.target,
    )


def _accuracy(entry: LedgerEntry, own: EvaluationResult | None) -> AccuracyReport | Unavailable:
    if isinstance(entry.evaluate, Unavailable):
        return entry.evaluate
    if own is None:
        raise InternalError(f"{entry.model} was evaluated, but its result was not read.")
    return own.accuracy


def _latency(
    entry: LedgerEntry, inputs: Mapping[str, Artifact]
) -> LatencyStats | Unavailable | None:
    if not isinstance(entry.benchmark, str):
        return entry.benchmark
    path = inputs[f"{entry.benchmark}.metrics"].path
    return BenchmarkResult.model_validate_json(path.read_bytes()).latency


def _same(first: EvaluationResult, own: EvaluationResult) -> Proportion | None:
    if own is first or not own.predictions or not first.predictions:
        return None
    return agreement(first.predictions, own.predictions)


def _paired(parent: EvaluationResult, own: EvaluationResult) -> PairedAccuracy | None:
    if not own.predictions or not parent.predictions or own.targets != parent.targets:
        return None
    return PairedAccuracy.of(parent.predictions, own.predictions, own.targets)
