"""Progress on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from edgekit.cli.output import messages
from edgekit.core import progress as core

SECONDS_BETWEEN_LINES = 5.0


class BarProgress:
    """Draws one Rich bar for each piece of work that is under way.

    A step of the outermost work that ends with a note leaves a line behind.
    """

    def __init__(self, bars: Progress) -> None:
        """Takes a started Rich display; see `shown_progress`."""
        self._bars = bars
        self._stack: list[TaskID] = []

    def start(self, label: str, total: int | None) -> None:
        """Adds a bar below those that run."""
        self._stack.append(self._bars.add_task(label, total=total, note=""))

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Moves the innermost bar; an empty note keeps the last one."""
        if not self._stack:
            return
        task = self._stack[-1]
        if note:
            self._bars.update(task, advance=steps, note=note)
        else:
            self._bars.update(task, advance=steps)
        if note and len(self._stack) == 1:
            (known,) = (item for item in self._bars.tasks if item.id == task)
            line = _counted(round(known.completed), known.total, note)
            self._bars.console.print(line, markup=False, style="dim")

    def finish(self) -> None:
        """Removes the innermost bar."""
        if self._stack:
            self._bars.remove_task(self._stack.pop())


@dataclass(slots=True)
class _Work:
    label: str
    total: int | None
    started_s: float
    done: int = 0
    note: str = ""


class LineProgress:
    """Writes plain lines, for files and logs.

    The outermost work gives a line for each step that ends with a note, and one at its end.
    The work inside gives one every few seconds, however many pieces it has.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Writes to ``stream``; lines of inner work every ``interval_s`` seconds of ``clock``."""
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._stack: list[_Work] = []
        self._last_line_s = clock()

    def start(self, label: str, total: int | None) -> None:
        """Notes that work begins."""
        self._stack.append(_Work(label, total, self._clock()))

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts; writes a line if one is due."""
        if not self._stack:
            return
        work = self._stack[-1]
        work.done += steps
        work.note = note or work.note
        if note and len(self._stack) == 1:
            self._write(_counted(work.done, work.total, note))
        elif self._clock() - self._last_line_s >= self._interval_s:
            count = f"{work.done}" if work.total is None else f"{work.done}/{work.total}"
            self._write(f"  {work.label}: {count} {work.note}".rstrip())

    def finish(self) -> None:
        """Ends the innermost work; writes the time that the outermost took."""
        if not self._stack:
            return
        work = self._stack.pop()
        if not self._stack:
            self._write(f"{work.label}: done in {self._clock() - work.started_s:.1f} s")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
        self._last_line_s = self._clock()


def _counted(done: int, total: float | None, note: str) -> str:
    """A finished step: ``[ 3/14] train: done``."""
    if total is None:
        return f"[{done}] {note}"
    width = len(str(round(total)))
    return f"[{done:>{width}}/{round(total)}] {note}"


@contextmanager
def shown_progress() -> Iterator[core.Progress]:
    """Progress for the length of a command, on stderr."""
    if not sys.stderr.isatty():
        yield LineProgress(sys.stderr)
        return
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
        console=messages(),
        transient=True,
    ) as bars:
        yield BarProgress(bars)
