"""report.html: one file that needs nothing else, neither network nor fonts."""

from __future__ import annotations

from edgekit.core.run_summary import GraphSummary, RunSummary
from edgekit.report.charts.of_run import charts_of
from edgekit.report.figures import format_count
from edgekit.report.page import render_page
from edgekit.report.sections import all_sections
from edgekit.report.summary_table import summary_table

MAX_PAGE_BYTES = 6_000_000
"""Largest page: it is sent by mail and opened on phones."""
_TOO_LARGE = "Pictures are left out: with them the page would be larger than 6 MB."


def render_html(summary: RunSummary) -> str:
    """The page of one run; pictures of samples are left out of one that they make too large."""
    page = _page(summary)
    predictions = summary.predictions
    if predictions is None or not predictions.pictures or len(page.encode()) <= MAX_PAGE_BYTES:
        return page
    bare = predictions.model_copy(update={"pictures": (), "picture_note": _TOO_LARGE})
    return _page(summary.model_copy(update={"predictions": bare}))


def _page(summary: RunSummary) -> str:
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
