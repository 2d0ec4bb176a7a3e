"""What the plan notes of each graph of the ledger."""

from __future__ import annotations

from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel


class LedgerEntry(FrozenModel):
    """Where a `LedgerRow` comes from.

    Attributes:
        form: Numeric form.
        stage: What made the graph, as `LedgerRow.stage` names it.
        model: Input that is the graph.
        parent: Input that is the graph it was made from; empty for the first.
        evaluate: Id of the step that evaluated it, or why there is none.
        target: Target that size and latency hold for; empty for none.
        lower: Id of the step that lowered it; None where it was not.
        benchmark: Id of the step that measured it, or why there is none.
    """

    form: str
    stage: str
    model: str
    parent: str = ""
    evaluate: str | Unavailable
    target: str = ""
    lower: str | None = None
    benchmark: str | Unavailable | None = None
