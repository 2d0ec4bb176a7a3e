"""Runs the project that a command with one model stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.target import Precision

if TYPE_CHECKING:
    from edgekit.api import ConvertOptions


def run_single(
    command: str,
    model: str,
    wanted: tuple[Sequence[str], Sequence[Precision]],
    output: Path,
    options: ConvertOptions,
    *,
    recorded: bool,
) -> None:
    """Runs it as a project that lives only as long as the command, and prints what came out.

    Args:
        command: Name of the command, for the history.
        model: Source of the model.
        wanted: Targets, and numeric forms.
        output: Folder for what is made.
        options: Everything else.
        recorded: Whether the run is recorded in the history.

    Raises:
        EdgekitError: See `edgekit.api.convert`.
    """
    from edgekit.api import conversion_project, run_project
    from edgekit.cli.history_flags import history_place
    from edgekit.cli.output import remark
    from edgekit.cli.progress import shown_progress
    from edgekit.cli.run_output import print_run

    targets, precisions = wanted
    project, notes = conversion_project(model, targets, precisions, output, options)
    for note in notes:
        remark(f"note: {note}")
    place = history_place(command, options.store, Path.cwd(), recorded=recorded)
    with shown_progress() as progress:
        result = run_project(project, store=options.store, progress=progress, history=place)
    print_run(result)
