"""report.html: one file that needs nothing else, neither network nor fonts."""

from __future__ import annotations

from edgekit.core.run_summary import GraphSummary, RunSummary
from edgekit.report.charts.of_run import charts_of
from edgekit.report.figures import format_count
from edgekit.report.page import render_page
from edgekit.report.sections import all_sections
from edgekit.report.summary_table import summary_table


def render_html(summary: RunSummary) -> str:
    """The page of one run."""
    pictures = () if summary.predictions is None else summary.predictions.pictures
    return render_page(
        "report.html.j2",
        charts_of(summary),
        summary=summary,
        headline=_headline(summary),
        warnings=_count_warnings(summary),
        results=summary_table(summary),
        sections=all_sections(summary),
        pictures={picture.sample: picture for picture in pictures},
    )


def _headline(summary: RunSummary) -> tuple[tuple[str, str], ...]:
    """The few facts that stand under the title."""
    facts = [("Input", str(spec)) for spec in summary.signature.inputs[:1]]
    graph = summary.source_graph
    if isinstance(graph, GraphSummary):
        facts.append(("Parameters", f"{graph.parameters:,}"))
        if graph.macs is not None:
            facts.append(("Multiply-accumulates", format_count(graph.macs)))
    facts.append(("Device", summary.environment.device))
    return tuple(facts)


def _count_warnings(summary: RunSummary) -> int:
    notes = [*summary.notes, *(note for result in summary.targets for note in result.notes)]
    return sum(note.level == "warning" for note in notes)
