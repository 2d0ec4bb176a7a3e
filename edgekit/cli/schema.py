"""``edgekit schema``: JSON Schemas of what edgekit reads and writes."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    report: Annotated[
        bool, typer.Option("--report", help="The schema of report.json instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of edgekit.toml, for editors that check and complete it."""
    from edgekit.cli.output import print_json

    if report:
        from edgekit.report.render_json import report_json_schema

        print_json(report_json_schema())
        return
    from edgekit.pipeline.project import project_json_schema

    print_json(project_json_schema())
