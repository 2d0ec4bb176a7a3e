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
    """Draws one Rich bar for each piece of work that is under way."""

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
        if note:
            self._bars.update(self._stack[-1], advance=steps, note=note)
        else:
            self._bars.update(self._stack[-1], advance=steps)

    def finish(self) -> None:
        """Removes the innermost bar and leaves a line with its name and time."""
        if not self._stack:
            return
        task = self._stack.pop()
        for known in self._bars.tasks:
            if known.id == task:
                self._bars.console.print(
                    f"[green]done[/green] {_escaped(known.description)} "
                    f"[dim]{known.elapsed or 0.0:.1f} s {_escaped(known.fields['note'])}[/dim]"
                )
        self._bars.remove_task(task)


@dataclass(slots=True)
class _Work:
    label: str
    total: int | None
    started_s: float
    done: int = 0
    note: str = ""


class LineProgress:
    """Writes plain lines: one when work starts or ends, and one every few seconds between."""

    def __init__(
        self,
        stream: TextIO,
        *,
        interval_s: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Writes to ``stream`` at most every ``interval_s`` seconds of ``clock``."""
        self._stream = stream
        self._interval_s = interval_s
        self._clock = clock
        self._stack: list[_Work] = []
        self._last_line_s = clock()

    def start(self, label: str, total: int | None) -> None:
        """Announces the work."""
        self._stack.append(_Work(label, total, self._clock()))
        self._write(f"{label} ...")

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Counts; writes a line if the last one is long enough ago."""
        if not self._stack:
            return
        work = self._stack[-1]
        work.done += steps
        work.note = note or work.note
        if self._clock() - self._last_line_s >= self._interval_s:
            of = "" if work.total is None else f"/{work.total}"
            self._write(f"{work.label}: {work.done}{of} {work.note}".rstrip())

    def finish(self) -> None:
        """Writes the time that the work took."""
        if not self._stack:
            return
        work = self._stack.pop()
        took_s = self._clock() - work.started_s
        self._write(f"{work.label}: done in {took_s:.1f} s {work.note}".rstrip())

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
        self._last_line_s = self._clock()


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


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
