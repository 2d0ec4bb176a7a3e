"""How long work tells how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives the advance of one piece of work.

    The command line draws a Rich bar, or plain lines when the output is no terminal.
    """

    def start(self, label: str, total: int | None) -> None:
        """A piece of work begins; ``total`` steps, or None when unknown."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """``steps`` more are done; ``note`` is a short figure such as ``loss 0.41``."""

    def finish(self) -> None:
        """The piece of work that was started last has ended."""


class SilentProgress:
    """Progress that nobody watches: the default of the Python API and of tests."""

    def start(self, label: str, total: int | None) -> None:
        """Does nothing."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Does nothing."""

    def finish(self) -> None:
        """Does nothing."""
