"""Reads the files that callgrind writes."""

from __future__ import annotations

import re
from pathlib import Path

from edgekit.errors import InputError

_REQUEST = re.compile(r"^desc: Trigger: Client Request: (.*)$", re.MULTILINE)
_EVENTS = re.compile(r"^events: (.*)$", re.MULTILINE)
_TOTALS = re.compile(r"^(?:totals|summary): (.*)$", re.MULTILINE)
_INSTRUCTIONS = "Ir"


def read_dumps(folder: Path, prefix: str) -> dict[str, int]:
    """Instructions of each dump that was asked for, by its label.

    Args:
        folder: Where the files lie.
        prefix: How their names begin; the number of the dump follows behind a dot.

    Raises:
        InputError: If a file is not of callgrind's form.
    """
    found = {}
    for path in sorted(folder.glob(f"{prefix}.*")):
        text = path.read_text(errors="replace")
        label = _REQUEST.search(text)
        if label is not None:
            found[label[1].strip()] = _instructions(path, text)
    return found


def _instructions(path: Path, text: str) -> int:
    events, totals = _EVENTS.search(text), _TOTALS.search(text)
    if events is not None and totals is not None:
        columns = events[1].split()
        numbers = totals[1].split()
        if _INSTRUCTIONS in columns and len(numbers) > columns.index(_INSTRUCTIONS):
            number = numbers[columns.index(_INSTRUCTIONS)]
            if number.isdigit():
                return int(number)
    raise InputError(f"{path} is no dump of callgrind: it has no total of instructions.")
