"""Every field of an option model as a command-line option.

Commands whose options are those of a stage take them from its option model: name, type, help and
default are written once, beside the code that uses them.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel

from edgekit.errors import InternalError

_SHORT = {"batch_size": "--batch", "shift_px": "--shift"}
"""Names that are shorter on the command line."""


def field_options(
    model: type[BaseModel], *, panel: str, skip: Collection[str] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command one option for each field of ``model``, in place of its ``**fields``.

    An option that is not given comes as None, so that the model's own default holds.

    Args:
        model: Its fields are numbers, words, switches or lists of words.
        panel: Heading in the help.
        skip: Fields without an option.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [item for item in signature.parameters.values() if item.kind is not item.VAR_KEYWORD]
        taken = {item.name for item in own}
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=_annotation(model, name, panel),
            )
            for name in model.model_fields
            if name not in skip and name not in taken
        ]
        # Typer reads both of them.
        command.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in (*own, *added)}
        return command

    return decorate


def given(fields: Mapping[str, object]) -> dict[str, object]:
    """What the command line gave of them."""
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields.items()
        if value is not None and value != []
    }


def _annotation(model: type[BaseModel], name: str, panel: str) -> Any:
    field = model.model_fields[name]
    if not field.description:
        raise InternalError(f"{model.__name__}.{name} has no description to show as help")
    kind = _plain(field.annotation)
    flag = _SHORT.get(name, f"--{name.replace('_', '-')}")
    if kind is bool:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    shown = False if default in (None, (), "") else str(default)
    info = typer.Option(
        flag, help=field.description, rich_help_panel=panel, show_default=shown,
        metavar=_metavar(kind),
    )  # fmt: skip
    return Annotated[kind | None, info]


def _plain(annotation: Any) -> Any:
    """The type of an option: without None, and a tuple of words as a list."""
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = [item for item in get_args(annotation) if item is not type(None)]
    if get_origin(annotation) is tuple:
        return list[get_args(annotation)[0]]  # type: ignore[misc]
    if annotation in (bool, int, float, str, Path) or get_origin(annotation) is Literal:
        return annotation
    raise InternalError(f"There is no command-line form of {annotation}")


def _metavar(kind: Any) -> str | None:
    if kind in (int, float, Path):
        return {int: "N", float: "X", Path: "PATH"}[kind]
    return "PATTERN" if get_origin(kind) is list else None
