"""The history of runs, as the commands that record themselves know it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgekit.pipeline.run_record import HistoryPlace

DEFAULT_STORE = Path(".edgekit")
"""Beside it lies the history of commands that are given no store."""

NoHistory = Annotated[
    bool,
    typer.Option("--no-history", help="Do not record this run in the history (edgekit history)."),
]


def history_place(
    command: str, store: Path | None, folder: Path, *, recorded: bool
) -> HistoryPlace | None:
    """Where a command records itself; None where it is not to.

    Args:
        command: Name of the command.
        store: The store, beside which the history lies; None for a command that keeps none.
        folder: Folder whose git commit is recorded.
        recorded: Whether to record.
    """
    if not recorded:
        return None
    from edgekit.pipeline.run_record import HistoryPlace
    from edgekit.store.history import history_file

    return HistoryPlace(history_file(store or DEFAULT_STORE), folder, command)
