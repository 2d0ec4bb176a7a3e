"""report.html: one file that needs nothing else, neither network nor fonts."""

from __future__ import annotations

from importlib import resources

from edgekit.core.run_summary import GraphSummary, RunSummary
from edgekit.report.figures import format_count
from edgekit.report.sections import all_sections
from edgekit.report.summary_table import summary_table
from edgekit.report.training_curve import curve_panels, qat_panels


def render_html(summary: RunSummary) -> str:
    """The page. Names and reasons are escaped: they may hold anything."""
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = resources.files("edgekit.report").joinpath("templates")
    sources = {
        name: folder.joinpath(name).read_text(encoding="utf-8")
        for name in ("report.html.j2", "macros.html.j2", "report.css")
    }
    environment = Environment(
        loader=DictLoader(sources),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    first = () if summary.training is None else (summary.training,)
    trainings = (*first, *summary.further_training)
    return environment.get_template("report.html.j2").render(
        summary=summary,
        headline=_headline(summary),
        warnings=_count_warnings(summary),
        results=summary_table(summary),
        sections=all_sections(summary),
        panels={
            "training": tuple(panel for item in trainings for panel in curve_panels(item)),
            "qat": tuple(panel for item in summary.qat for panel in qat_panels(item)),
        },
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
