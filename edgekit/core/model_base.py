"""The one base class of everything that is configured, cached or written to disk."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError


class FrozenModel(BaseModel):
    """Immutable record; unknown fields are refused, so a misspelt option is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def problems_of(error: ValidationError, most: int | None = None) -> str:
    """What does not fit, each with its place, in one line.

    Args:
        error: From reading a file that a program wrote.
        most: Problems that are named; None names all.
    """
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'JSON'}: {item['msg']}"
        for item in error.errors()[:most]
    )
