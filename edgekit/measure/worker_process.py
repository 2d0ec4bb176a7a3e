"""Processes of their own, for what needs fresh memory or may die: how they start and end."""

from __future__ import annotations

import os
import signal
import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """Runs a module with this interpreter; -P keeps the current folder from standing first."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment(**changes: str) -> dict[str, str]:
    """This process's environment, with which another imports what this one imports.

    That holds also in a checkout that is not installed.

    Args:
        **changes: Further variables.
    """
    modules = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {**os.environ, "PYTHONPATH": modules, **changes}


def how_it_ended(code: int) -> str:
    """``"signal SIGSEGV"`` or ``"exit code 3"``."""
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def last_words(said: str) -> str:
    """A sentence with the last line of what a process wrote, led by a space; empty for nothing."""
    last = said.strip().splitlines()[-1:]
    return f" Its last words: {last[0]}" if last else ""
