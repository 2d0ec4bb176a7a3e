"""Command-line flags that come from the option models they fill.

The description of a field is written once, beside the code that uses it; the flag's help, the
TOML key's documentation and the JSON Schema all show the same text.
"""

from __future__ import annotations

from pydantic import BaseModel

from edgekit.errors import InternalError


def help_of(model: type[BaseModel], field: str) -> str:
    """The description of ``field`` in an option model.

    Raises:
        InternalError: If the model has no such field, or the field no description: a flag
            without help is a defect.
    """
    info = model.model_fields.get(field)
    if info is None:
        raise InternalError(f"{model.__name__} has no field {field!r}")
    if not info.description:
        raise InternalError(f"{model.__name__}.{field} has no description to show as help")
    return info.description
