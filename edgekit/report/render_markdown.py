"""report.md: for a terminal, a merge request or a wiki."""

from __future__ import annotations

import re

from edgekit.core.run_summary import RunSummary
from edgekit.report.sections import Section, all_sections
from edgekit.report.summary_table import summary_table
from edgekit.report.tables import Cell, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~#$])")
"""What Markdown, a table or embedded HTML gives a meaning to inside a line."""


def render_markdown(summary: RunSummary) -> str:
    """The report as Markdown with tables in the GitHub form."""
    parts = [
        f"# {escape(summary.project)}",
        f"Written by edgekit {escape(summary.edgekit_version)}; seed {summary.seed}.",
        _table(summary_table(summary)),
    ]
    for section in all_sections(summary):
        parts += _section(section)
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(text: str) -> str:
    """``text`` as Markdown shows it literally, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _section(section: Section) -> list[str]:
    parts = [f"## {section.title}"]
    for table in section.tables:
        if table.title:
            parts.append(f"### {escape(table.title)}")
        parts.append(_table(table))
    return parts


def _table(table: Table) -> str:
    lines = [
        "| " + " | ".join(escape(column.title) for column in table.columns) + " |",
        "|" + "|".join(" ---: " if column.figures else " --- " for column in table.columns) + "|",
    ]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in table.rows]
    if table.caption:
        lines += ["", escape(table.caption)]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = f"{cell.text}: {cell.detail}" if cell.tone == "missing" else cell.one_line
    return escape(text) + " |" * (cell.span - 1)
