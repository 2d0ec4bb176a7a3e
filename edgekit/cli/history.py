"""``edgekit history``: recorded runs over time, each beside the run before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgekit.cli.history_flags import DEFAULT_STORE
from edgekit.cli.options import AsJson

if TYPE_CHECKING:
    from edgekit.core.history_trend import HistorySeries
    from edgekit.core.run_history import RecordedRun

DEFAULT_LIMIT = 20
"""Runs that the tables show where nothing else is asked for."""

Project = Annotated[
    str | None,
    typer.Argument(
        help="Name of a project, or its edgekit.toml, which also says where its store is."
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        min=1,
        metavar="N",
        help=f"Show the last N runs alone; {DEFAULT_LIMIT} in tables and all in JSON by default.",
    ),
]
Metric = Annotated[
    Literal["accuracy", "latency", "size"] | None,
    typer.Option(
        "--metric", help="Show this figure alone, with its conditions; all three by default."
    ),
]
Stages = Annotated[
    bool,
    typer.Option(
        "--stages",
        help="Show the model after each stage, too; a project that made no artifact shows it "
        "always.",
    ),
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help=f"Store beside which the history lies; {DEFAULT_STORE} here by default.",
    ),
]


def command(
    project: Project = None,
    limit: Limit = None,
    metric: Metric = None,
    stages: Stages = False,
    store: Store = None,
    as_json: AsJson = False,
) -> None:
    """Show recorded runs over time: accuracy, latency and size, each beside the run before.

    Exit codes: 0 shown; 2 there is no history or no such project, or the history is damaged,
    cannot be read, or was written by a newer edgekit.
    """
    from edgekit.core.history_trend import history_series
    from edgekit.errors import UsageError
    from edgekit.store.history import history_file, read_history

    if as_json and (metric is not None or stages):
        raise UsageError("--metric and --stages choose what tables show; --json has everything.")
    file, name = _place(project, store)
    runs = read_history(history_file(file), name)
    shown = _last(runs, limit if limit is not None or as_json else DEFAULT_LIMIT)
    # The run before the first one shown is still what that is compared with.
    series = history_series(runs)
    if as_json:
        _print_json(history_file(file), shown, series)
        return
    from edgekit.cli.history_tables import print_history

    print_history(series, {run.id for run in shown}, metric=metric, stages=stages)
    if len(shown) < len(runs):
        from edgekit.cli.output import remark

        remark(f"The last {len(shown)} of {len(runs)} runs; --limit {len(runs)} shows all.")


def _place(project: str | None, store: Path | None) -> tuple[Path, str | None]:
    """Store and project name that the command line means.

    Raises:
        ConfigError: If the project file is wrong.
    """
    if project is None or not project.endswith(".toml"):
        return store or DEFAULT_STORE, project
    from edgekit.pipeline.project import load_project

    config = load_project(Path(project))
    return store or config.store, config.name


def _last(runs: tuple[RecordedRun, ...], limit: int | None) -> tuple[RecordedRun, ...]:
    return runs if limit is None else runs[-limit:]


def _print_json(
    file: Path, runs: tuple[RecordedRun, ...], series: tuple[HistorySeries, ...]
) -> None:
    """Every column of the runs, and the changes of their figures."""
    from edgekit.cli.output import print_json

    ids = {run.id for run in runs}
    changes = [
        {
            "run": point.run.id,
            "project": item.project,
            "target": item.target,
            "form": item.form,
            "stage": item.stage,
            "step": item.step,
            **{
                name: None if change is None else change.model_dump(mode="json")
                for name, change in (
                    ("accuracy", point.accuracy),
                    ("latency_ms", point.latency),
                    ("size_bytes", point.size),
                )
            },
        }
        for item in series
        for point in item.points
        if point.run.id in ids
    ]
    print_json(
        {
            "history": str(file),
            "runs": [run.model_dump(mode="json") for run in runs],
            "changes": changes,
        }
    )
