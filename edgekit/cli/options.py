"""Command-line options that come from the option models they fill.

The description of a field is written once, beside the code that uses it; the option's help, the
key's documentation in the JSON Schema and the Python API all show the same text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel, ValidationError

from edgekit.core.metadata import Preprocessing
from edgekit.core.target import BenchConfig, Precision
from edgekit.core.toml_config import describe_problems, nearest_name, validation_problems
from edgekit.data.contract import DataSpec
from edgekit.errors import ConfigError, InternalError, UsageError


def help_of(model: type[BaseModel], field: str) -> str:
    """The description of ``field`` in an option model.

    Raises:
        InternalError: If the model has no such field, or the field no description: an option
            without help is a defect.
    """
    info = model.model_fields.get(field)
    if info is None:
        raise InternalError(f"{model.__name__} has no field {field!r}")
    if not info.description:
        raise InternalError(f"{model.__name__}.{field} has no description to show as help")
    return info.description


def option(model: type[BaseModel], field: str, *names: str, **more: Any) -> Any:
    """A Typer option with the help of a model's field.

    Args:
        model: The option model.
        field: Its field.
        names: The option's names, such as ``"--threads"``.
        more: What `typer.Option` takes besides; ``panel`` is the heading in the help.
    """
    return typer.Option(
        *names, help=help_of(model, field), rich_help_panel=more.pop("panel", None), **more
    )


def checked[ModelT: BaseModel](model: type[ModelT], **values: object) -> ModelT:
    """An option model from what the command line gave.

    Raises:
        ConfigError: If a value is out of its range; all such values are listed.
    """
    try:
        return model(**values)
    except ValidationError as error:
        problems = validation_problems(error, model)
        raise ConfigError(describe_problems("The command line", problems)) from error


def parse_precisions(names: list[str]) -> tuple[Precision, ...]:
    """Checks the names of numeric forms.

    Raises:
        UsageError: If one is unknown; names the nearest.
    """
    known = get_args(Precision)
    for name in names:
        if name not in known:
            raise UsageError(
                f"There is no precision {name!r}.{nearest_name(name, known)} "
                f"Known: {', '.join(known)}."
            )
    return tuple(item for item in known if item in names)


MEASUREMENT = "Measurement"
PREPROCESSING = "Preprocessing"

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DataSet = Annotated[
    str | None, option(DataSpec, "set", "--data", metavar="SET", panel=MEASUREMENT)
]
DataRoot = Annotated[
    Path | None, option(DataSpec, "root", "--data-root", metavar="DIR", panel=MEASUREMENT)
]
Limit = Annotated[
    int | None, option(DataSpec, "limit", "--limit", metavar="N", min=1, panel=MEASUREMENT)
]
Threads = Annotated[
    int, option(BenchConfig, "threads", "--threads", metavar="N", min=1, panel=MEASUREMENT)
]


def preprocessing_option(field: str, metavar: str | None = None) -> Any:
    """The option ``--field`` of the preprocessing."""
    return option(Preprocessing, field, f"--{field}", metavar=metavar, panel=PREPROCESSING)
