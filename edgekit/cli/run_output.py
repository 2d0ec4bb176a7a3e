"""What ``convert`` and ``run`` print when they have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.cli.output import Column, print_table, remark, results
from edgekit.report.summary_table import summary_table
from edgekit.report.tables import Cell

if TYPE_CHECKING:
    from edgekit.core.run_summary import RunSummary
    from edgekit.pipeline.run_result import RunResult


def print_run(result: RunResult) -> None:
    """The table of figures, what was done, warnings, and where the files lie."""
    if result.summary is not None:
        _print_summary(result.summary)
        _print_warnings(result.summary)
    remark(result.describe())
    for path in result.outputs:
        results().print(str(path), markup=False, soft_wrap=True)


def _print_summary(summary: RunSummary) -> None:
    table = summary_table(summary)
    columns = [
        Column(column.title, "right" if column.figures else "left") for column in table.columns
    ]
    print_table(columns, [[_text(cell) for cell in row] for row in table.rows])
    if table.caption:
        results().print(table.caption, markup=False)


def _text(cell: Cell) -> str:
    return f"{cell.text}\n{cell.detail}" if cell.detail else cell.text


def _print_warnings(summary: RunSummary) -> None:
    for note in summary.notes:
        if note.level == "warning":
            remark(f"warning: {note.text}")
    for target in summary.targets:
        for note in target.notes:
            if note.level == "warning":
                where = f"{target.target} {target.precision}"
                place = f", {note.where}" if note.where else ""
                remark(f"warning ({where}{place}): {note.text}")
