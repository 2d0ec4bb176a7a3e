"""``edgekit run``: the pipeline that a project file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.history_flags import NoHistory, history_place
from edgekit.cli.options import help_of
from edgekit.pipeline.project import ProjectConfig


def command(
    project: Annotated[Path, typer.Argument(help="Project file.")] = Path("edgekit.toml"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help=help_of(ProjectConfig, "output")),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="DIR", help=help_of(ProjectConfig, "store"))
    ] = None,
    no_history: NoHistory = False,
    plan_only: Annotated[
        bool, typer.Option("--plan", help="Print the steps and run nothing.")
    ] = False,
) -> None:
    """Run a project: train, convert, check, measure, report; what is done already is reused."""
    from edgekit.api import run_project
    from edgekit.cli.output import results
    from edgekit.cli.progress import shown_progress
    from edgekit.cli.run_output import print_run
    from edgekit.pipeline.plan import build_plan
    from edgekit.pipeline.project import load_project

    config = load_project(project)
    given = {"output": output, "store": store}
    config = config.model_copy(update={key: path for key, path in given.items() if path})
    if plan_only:
        results().print(build_plan(config).describe(), markup=False)
        return
    place = history_place("run", config.store, project.absolute().parent, recorded=not no_history)
    with shown_progress() as progress:
        result = run_project(config, store=config.store, progress=progress, history=place)
    print_run(result)
