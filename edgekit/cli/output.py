"""Where commands write: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDTH_WITHOUT_TERMINAL = 160
"""Columns of a table in a pipe or file: wide enough that a row is not folded."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: What stands above it.
        align: Figures are aligned to the right, words to the left.
    """

    title: str
    align: Literal["left", "right"] = "left"


def results() -> Console:
    """The console for results (stdout)."""
    return _console(sys.stdout)


def messages() -> Console:
    """The console for progress and remarks (stderr)."""
    return _console(sys.stderr)


def print_json(value: object) -> None:
    """Writes plain JSON, and nothing else, to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Writes a table to stdout. The cells are plain text, never markup."""
    table = Table(
        box=SIMPLE_HEAD,
        title=Text(title) if title else None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for column in columns:
        table.add_column(Text(column.title), justify=column.align, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    results().print(table)


def remark(text: str) -> None:
    """Writes one line to stderr, as plain text."""
    messages().print(Text(text))


def _console(stream: TextIO) -> Console:
    """Made for each use, so that a stream that tests or shells replace is followed."""
    fixed = not stream.isatty() and "COLUMNS" not in os.environ
    return Console(file=stream, width=_WIDTH_WITHOUT_TERMINAL if fixed else None, highlight=False)
