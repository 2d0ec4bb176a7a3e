"""``edgekit report``: the page of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Output folder of a run, or its report.json; several are compared.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write.")
    ] = Path("report.html"),
) -> None:
    """Write the report of a run anew, or compare several runs on one page.

    Exit code 2 if a run has no report, or its report.json is damaged or of another version.
    """
    from edgekit.cli.output import remark, results
    from edgekit.errors import UsageError
    from edgekit.report.charts.library import missing_library
    from edgekit.report.finished_run import read_runs
    from edgekit.report.render_comparison import render_comparison
    from edgekit.report.render_html import render_html
    from edgekit.store.durable import write_bytes
    from edgekit.store.os_errors import os_errors_explained

    if output.is_dir():
        raise UsageError(f"{output} is a folder; name the HTML file to write, such as page.html.")
    found = read_runs(runs)
    if any(run.path.samefile(output) for run in found if output.exists()):
        raise UsageError(f"{output} is read here and would be written over; name another file.")
    text = render_html(found[0].summary) if len(found) == 1 else render_comparison(found)
    with os_errors_explained("write", output):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, text.encode())
    if missing := missing_library():
        remark(missing)
    results().print(str(output), markup=False, soft_wrap=True)
