"""Options of the stage sparsify; importing them loads no framework."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from edgekit.core.stage import StageConfig
from edgekit.training.pruning.keep_patterns import check_keep, keeps

Scope = Literal["layer", "global"]

DEFAULT_SPARSITY = 0.5
_PATTERN = re.compile(r"([0-9]+):([0-9]+)")


class SparsifyOptions(StageConfig):
    """Which single weights become 0, and what is done for those that stay."""

    sparsity: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the weights that become 0, the smallest first; 0.5 by default. Not "
        "with pattern.",
    )
    pattern: str | None = Field(
        None,
        description="N:M keeps the N largest of each M weights along the input channels, such as "
        "2:4. Layers whose input channels are not a multiple of M stay dense.",
    )
    scope: Scope = Field(
        "layer",
        description="layer takes the share of each layer; global of all together, so that layers "
        "of small weights lose more. Only with sparsity.",
    )
    keep: tuple[str, ...] = Field(
        (),
        description="Layers that stay dense, as names or patterns such as 'features.0*'.",
    )
    statistics_samples: int = Field(
        1024,
        ge=0,
        description="Samples that mean and variance of every channel are estimated anew with, as "
        "BatchNorm would have them; 0 leaves the weights as they are.",
    )

    @field_validator("pattern")
    @classmethod
    def _check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            found = _PATTERN.fullmatch(pattern)
            if found is None or not 0 < int(found[1]) < int(found[2]):
                raise ValueError(
                    f"the pattern {pattern!r} is none; write N:M with N from 1 to M - 1, for "
                    "example 2:4, which keeps 2 of each 4 weights"
                )
        return pattern

    @model_validator(mode="after")
    def _check_goal(self) -> Self:
        if self.pattern is not None:
            if self.sparsity is not None:
                raise ValueError(
                    f"sparsity contradicts pattern {self.pattern}, which states the share of "
                    "zeros itself; leave one of them out"
                )
            if self.scope == "global":
                raise ValueError(
                    f"scope global contradicts pattern {self.pattern}, which holds within each "
                    "layer; leave one of them out"
                )
        check_keep(self.keep)
        return self

    @property
    def share(self) -> float | None:
        """Share of the weights that become 0; None where a pattern says it."""
        if self.pattern is not None:
            return None
        return DEFAULT_SPARSITY if self.sparsity is None else self.sparsity

    @property
    def n_of_m(self) -> tuple[int, int] | None:
        """How many weights of how many neighbours stay; None without a pattern."""
        if self.pattern is None:
            return None
        n, _, m = self.pattern.partition(":")
        return int(n), int(m)

    def keeps(self, layer: str) -> bool:
        """True for a layer that one of the patterns of ``keep`` names."""
        return keeps(self.keep, layer)
