"""The page of several runs: what each offers for what it costs."""

from __future__ import annotations

from collections.abc import Sequence

import edgekit
from edgekit.report.charts.chart import Chart
from edgekit.report.charts.ledger import ledger_chart
from edgekit.report.charts.pareto import pareto_charts
from edgekit.report.comparison_tables import artifact_tables, run_table
from edgekit.report.finished_run import ReportedRun
from edgekit.report.ledger_tables import ledger_tables
from edgekit.report.page import render_page
from edgekit.report.run_tables import environment_tables, provenance_tables
from edgekit.report.sections import Section
from edgekit.report.trade_off import points_of, trade_off_tables


def render_comparison(runs: Sequence[ReportedRun]) -> str:
    """The page, for two runs or more."""
    points = [point for run in runs for point in points_of(run.summary, run.name)]
    sections = [
        Section("runs", "Runs", (run_table(runs),)),
        Section("trade-off", "Trade-off", trade_off_tables(points), "Every point"),
        Section("artifacts", "Artifacts", artifact_tables(runs)),
    ]
    charts: dict[str, tuple[Chart, ...]] = {"trade-off": pareto_charts(points)}
    for number, run in enumerate(runs, 1):
        ledger = ledger_chart(run.summary.ledger, f"ledger-{number}")
        charts[f"ledger-{number}"] = () if ledger is None else (ledger,)
        title = f"Ledger of {run.name}"
        sections.append(Section(f"ledger-{number}", title, ledger_tables(run.summary)))
    for number, run in enumerate(runs, 1):
        tables = (*environment_tables(run.summary), *provenance_tables(run.summary))
        title = f"Provenance of {run.name}"
        folded = "Versions, digests, steps, durations"
        sections.append(Section(f"provenance-{number}", title, tables, folded))
    return render_page(
        "comparison.html.j2",
        charts,
        title=f"{len(runs)} runs",
        version=edgekit.__version__,
        sections=[section for section in sections if section.tables],
    )
