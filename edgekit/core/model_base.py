"""The one base class of everything that is configured, cached or written to disk."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenModel(BaseModel):
    """Immutable record; unknown fields are refused, so a misspelt option is never ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")
