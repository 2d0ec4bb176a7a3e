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
    """Write the report of a run anew, or compare several runs on one page."""
    from edgekit.cli.output import remark, results
    from edgekit.report.charts.library import missing_library
    from edgekit.report.finished_run import read_runs
    from edgekit.report.render_comparison import render_comparison
    from edgekit.report.render_html import render_html
    from edgekit.store.durable import write_bytes
    from edgekit.store.os_errors import os_errors_explained

    found = read_runs(runs)
    text = render_html(found[0].summary) if len(found) == 1 else render_comparison(found)
    with os_errors_explained("write", output):
        output.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(output, text.encode())
    if missing := missing_library():
        remark(missing)
    results().print(str(output), markup=False, soft_wrap=True)
