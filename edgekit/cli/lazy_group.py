"""A Typer group that imports a command's module only when the command is called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

_DEBUG_FLAG = "--debug"


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """Where a command lives.

    Attributes:
        module: Module to import; its function ``command`` carries the options.
        summary: The line shown by ``edgekit --help``.
    """

    module: str
    summary: str


_entries: dict[str, CommandEntry] = {}


def add_commands(app: typer.Typer, entries: Mapping[str, CommandEntry]) -> None:
    """Lists commands in ``app`` without importing them."""
    _entries.update(entries)
    for name, entry in entries.items():
        app.command(name, help=entry.summary)(_not_loaded)


def _not_loaded() -> None:
    """Stands for a command in the list of commands; never called."""


class LazyGroup(TyperGroup):
    """Replaces the listed placeholder by the real command when it is resolved.

    It is also where every failure of a command ends: see `edgekit.cli.failures`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accepts ``--debug`` anywhere on the line, since one adds it to a line that failed."""
        end = args.index("--") if "--" in args else len(args)
        if _DEBUG_FLAG in args[:end]:
            rest = [arg for arg in args[:end] if arg != _DEBUG_FLAG]
            args = [_DEBUG_FLAG, *rest, *args[end:]]
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Imports the command that is called."""
        entry = _entries.get(args[0]) if args else None
        if entry is not None:
            self.add_command(_load(args[0], entry), args[0])
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command; an error becomes one message and an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if hasattr(error, "format_message"):
                raise  # wrong usage: Typer shows it with the command's usage line
            from edgekit.cli.failures import report_failure

            code = report_failure(error, debug=bool(ctx.params.get("debug")))
            raise typer.Exit(code) from None


def _load(name: str, entry: CommandEntry) -> Any:
    """The real command, built from the function ``command`` of its module."""
    module = importlib.import_module(entry.module)
    app = typer.Typer(add_completion=False)
    app.command(name)(module.command)
    return get_command(app)
