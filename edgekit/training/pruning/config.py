"""Options of structured pruning; importing them loads no framework."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgekit.core.stage import StageConfig
from edgekit.training.pruning.keep_patterns import check_keep, keeps

Importance = Literal["magnitude", "taylor", "bn_scale", "random"]
Allocation = Literal["uniform", "global", "latency"]

DEFAULT_MACS_RATIO = 0.5


class PruneConfig(StageConfig):
    """Which channels are removed, and how many. The same options and seed remove the same."""

    importance: Importance = Field(
        "magnitude",
        description="What makes a channel worth keeping: magnitude is the squared norm of its "
        "weights; taylor the first-order change of the loss without it (needs samples); bn_scale "
        "the size of its BatchNorm scale; random is the baseline.",
    )
    allocation: Allocation = Field(
        "uniform",
        description="uniform removes the same share in every layer; global the least important "
        "channels of the whole network; latency those with the least importance for each "
        "millisecond saved.",
    )
    macs_ratio: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep at most this share of the multiply-accumulates; 0.5 by default. Not "
        "with allocation latency.",
    )
    latency_ratio: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Keep at most this share of the measured latency; only with allocation "
        "latency, which needs it.",
    )
    round_to: int = Field(
        8, ge=1, description="Channels left in a pruned layer are a multiple of this."
    )
    iterations: int = Field(
        1,
        ge=1,
        description="Rounds in which the goal is reached; importances are computed anew in each.",
    )
    keep: tuple[str, ...] = Field(
        (),
        description="Layers that are never pruned, as names or patterns such as 'features.0*'.",
    )
    seed: int = Field(0, ge=0, description="Seed of random importances and of checks.")

    @model_validator(mode="after")
    def _check_goal(self) -> Self:
        if self.allocation == "latency":
            if self.latency_ratio is None:
                raise ValueError("allocation is latency, which needs latency_ratio")
            if self.macs_ratio is not None:
                raise ValueError(
                    "macs_ratio contradicts allocation latency, whose goal is latency_ratio; "
                    "leave one of them out"
                )
        elif self.latency_ratio is not None:
            raise ValueError(
                f"latency_ratio contradicts allocation {self.allocation}, whose goal is "
                "macs_ratio; set allocation to latency"
            )
        check_keep(self.keep)
        return self

    @property
    def goal(self) -> float:
        """The share of MACs, or of latency, that may be left."""
        if self.latency_ratio is not None:
            return self.latency_ratio
        return DEFAULT_MACS_RATIO if self.macs_ratio is None else self.macs_ratio

    def keeps(self, layer: str) -> bool:
        """True for a layer that one of the patterns of ``keep`` names."""
        return keeps(self.keep, layer)
