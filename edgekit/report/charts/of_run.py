"""Which charts stand in which section of a run's report."""

from __future__ import annotations

from edgekit.core.run_summary import RunSummary
from edgekit.report.charts.chart import Chart
from edgekit.report.charts.confusion import confusion_charts
from edgekit.report.charts.curves import qat_charts, training_charts
from edgekit.report.charts.layers import layer_error_charts, range_charts
from edgekit.report.charts.ledger import ledger_chart
from edgekit.report.charts.pareto import pareto_charts
from edgekit.report.trade_off import points_of


def charts_of(summary: RunSummary) -> dict[str, tuple[Chart, ...]]:
    """Charts by the anchor of their section; sections without any are left out."""
    ledger = ledger_chart(summary.ledger)
    first = () if summary.training is None else (summary.training,)
    made = {
        "ledger": () if ledger is None else (ledger,),
        "trade-off": pareto_charts(points_of(summary)),
        "layer-errors": layer_error_charts(summary.layer_errors),
        "predictions": confusion_charts(summary.predictions),
        "training": training_charts((*first, *summary.further_training)),
        "qat": qat_charts(summary.qat),
        "ranges": range_charts(summary.quantization),
    }
    return {anchor: charts for anchor, charts in made.items() if charts}
