"""Configuration files: TOML to typed models, with every mistake named in one message."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from edgekit.errors import ConfigError

_VALUE_CHARACTERS = 60
_TOML_WORDS = {
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a table",
    "model_type": "should be a table",
    "model_attributes_type": "should be a table",
}
"""What pydantic calls by its Python name, in the words of TOML."""


def load_toml[ModelT: BaseModel](path: Path, model: type[ModelT]) -> ModelT:
    """Reads a TOML file as ``model``.

    Relative paths in it are taken from the file's own folder, as are relative defaults.

    Args:
        path: The file.
        model: What it has to hold.

    Raises:
        ConfigError: If the file is missing, is not TOML, or has wrong keys or values; all of
            them are listed.
    """
    data = read_toml(path)
    try:
        loaded = model.model_validate(data)
    except ValidationError as error:
        raise ConfigError(
            describe_problems(str(path), validation_problems(error, model))
        ) from error
    return resolve_paths(loaded, path.absolute().parent)


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a TOML file without looking at its keys.

    Raises:
        ConfigError: If it is missing or is not TOML; says in which line.
    """
    try:
        return tomllib.loads(path.read_bytes().decode())
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text ({error.reason}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}.") from error


def describe_problems(place: str, problems: Iterable[str]) -> str:
    """One message for all problems of one file.

    Args:
        place: The file, or whatever else was read.
        problems: At least one.
    """
    lines = list(problems)
    count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
    return "\n".join([f"{place} has {count}:", *(f"  - {line}" for line in lines)])


def validation_problems(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Each mistake that pydantic found, with its dotted key and what would be right.

    Args:
        error: What validating against ``model`` raised.
        model: The model, from which the valid names are taken.
    """
    return [_describe(details, model) for details in error.errors(include_url=False)]


def nearest_name(name: str, known: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the most similar known name; empty if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def resolve_paths[ModelT: BaseModel](model: ModelT, folder: Path) -> ModelT:
    """A copy in which every relative path, at any depth, is taken from ``folder``."""
    changes = {name: _resolved(getattr(model, name), folder) for name in type(model).model_fields}
    return model.model_copy(update=changes)


def _resolved(value: object, folder: Path) -> object:
    if isinstance(value, Path):
        return folder / value.expanduser()
    if isinstance(value, BaseModel):
        return resolve_paths(value, folder)
    if isinstance(value, tuple):
        return tuple(_resolved(item, folder) for item in value)
    if isinstance(value, Mapping):
        return {key: _resolved(item, folder) for key, item in value.items()}
    return value


def _describe(details: ErrorDetails, model: type[BaseModel]) -> str:
    location = details["loc"]
    key = ".".join(str(part) for part in _without_tags(model, location))
    if details["type"] == "extra_forbidden":
        known = _valid_names(model, location[:-1])
        name = str(location[-1])
        return f"{key}: unknown key.{nearest_name(name, known)} Valid keys: {', '.join(known)}."
    if details["type"] == "missing":
        return f"{key}: is required and not given."
    text = _TOML_WORDS.get(details["type"], details["msg"].removeprefix("Value error, "))
    if details["type"] in ("value_error", "assertion_error"):
        return f"{key or 'whole file'}: {text}."
    value = repr(details["input"])
    if len(value) > _VALUE_CHARACTERS:
        value = value[:_VALUE_CHARACTERS] + "..."
    return f"{key}: {text[:1].lower()}{text[1:]}, but is {value}."


def _without_tags(
    model: type[BaseModel], location: tuple[int | str, ...]
) -> tuple[int | str, ...]:
    """``location`` without pydantic's tags of union members, which no file holds."""
    candidates: list[Any] = [model]
    kept: list[int | str] = []
    for part in location:
        if not any(part in _tagged(candidate) for candidate in candidates):
            kept.append(part)
        candidates = [inner for outer in candidates for inner in _step_into(outer, part)]
    return tuple(kept)


def _valid_names(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Names allowed at ``location``, found by walking down the types of the fields."""
    candidates: list[Any] = [model]
    for part in location:
        candidates = [inner for outer in candidates for inner in _step_into(outer, part)]
    names: list[str] = []
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            for name, field in candidate.model_fields.items():
                names.append(field.alias or name)
    return names


def _step_into(annotation: Any, part: int | str) -> list[Any]:
    """Types that may stand at ``part`` (a key or an index) of a value of type ``annotation``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(part))
        return [] if field is None else _alternatives(field.annotation)
    if tagged := _tagged(annotation):
        return [tagged[part]] if part in tagged else []
    # A key of a dict, an index of a tuple, or pydantic's tag of a union's member.
    return [inner for argument in get_args(annotation) for inner in _alternatives(argument)]


def _tagged(annotation: Any) -> dict[int | str, Any]:
    """Members of a union by their tag; empty where ``annotation`` is no union with tags."""
    if get_origin(annotation) is not Annotated:
        return {}
    union, *_ = get_args(annotation)
    members = [get_args(member) for member in get_args(union)]
    return {
        mark.tag: kind
        for kind, *marks in members
        if marks
        for mark in marks
        if isinstance(mark, Tag)
    }


def _alternatives(annotation: Any) -> list[Any]:
    """``annotation`` itself, and for ``X | None`` its members."""
    members = get_args(annotation)
    if type(None) in members:
        return [member for member in members if member is not type(None)]
    return [annotation]
