"""What a rule of the Neural Engine says, and where it stands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.core.model_base import FrozenModel
from edgekit.targets.coreml.estimate.op_facts import OpFacts


class Source(FrozenModel):
    """A public page."""

    title: str
    url: str


class Departure(FrozenModel):
    """An op that is likely to leave the Neural Engine.

    Attributes:
        op: MIL op type.
        name: Of the op.
        reason: Why, to follow "since".
        source: Page that says so.
    """

    op: str
    name: str
    reason: str
    source: Source

    def in_words(self) -> str:
        """For reports: one sentence."""
        return (
            f"{self.op} {self.name!r} is likely to leave the Neural Engine, since {self.reason} "
            f"({self.source.title}, {self.source.url})."
        )


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason to leave the Neural Engine.

    Attributes:
        name: Short and unique.
        applies: Whether it holds for an op.
        reason: See `Departure`.
        source: See `Departure`.
    """

    name: str
    applies: Callable[[OpFacts], bool]
    reason: str
    source: Source
