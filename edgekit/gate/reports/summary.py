"""Markdown for the summary page of a step on GitHub, or a comment."""

from __future__ import annotations

from edgekit.gate.reports.wording import full_text, subject_of, verdict_sentence
from edgekit.gate.verdict import CheckReport, Finding, Verdict

_WORDS = {
    Verdict.PASS: "pass",
    Verdict.FAIL: "**FAIL**",
    Verdict.CANNOT_TELL: "**cannot tell**",
    Verdict.NOT_CHECKED: "not checked",
}


def markdown_summary(report: CheckReport) -> str:
    """A heading, the verdict, and a table; ends with a newline."""
    name = f" of {_escaped(report.model)}" if report.model else ""
    lines = [
        f"## edgekit check{name}",
        "",
        f"**{verdict_sentence(report)}**",
        "",
        "| Artifact | Gate | Verdict | Why |",
        "|---|---|---|---|",
    ]
    lines += [_row(finding, report) for finding in report.findings]
    options = report.options
    conditions = (
        f"Accepted: {options.margin:g} points of accuracy, {options.latency_tolerance:.1%} of "
        f"latency, {options.size_tolerance:.1%} of size, {options.memory_tolerance:.1%} of "
        f"memory. Baseline {_escaped(report.baseline)}, {_escaped(report.device)}, edgekit "
        f"{report.edgekit_version}, {report.duration_s:.0f} s."
    )
    lines += ["", conditions]
    lines += [f"Note: {_escaped(note)}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _row(finding: Finding, report: CheckReport) -> str:
    cells = (
        _escaped(subject_of(finding, report)),
        finding.gate,
        _WORDS[finding.verdict],
        _escaped(full_text(finding)),
    )
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Text in a table's cell: no markup, one line."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
