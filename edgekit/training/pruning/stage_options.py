"""Options of the stage prune; importing them loads no framework."""

from __future__ import annotations

from pydantic import Field

from edgekit.training.pruning.config import PruneConfig


class PruneOptions(PruneConfig):
    """Which channels are removed, and what is done for those that stay."""

    statistics_samples: int = Field(
        1024,
        ge=0,
        description="Samples that mean and variance of every remaining channel are estimated "
        "anew with, as BatchNorm would have them; 0 leaves the weights as they are.",
    )
    latency_runs: int = Field(
        10,
        ge=1,
        description="Runs in each of the nine blocks that time a network which allocation "
        "latency tries.",
    )

    def prune_config(self) -> PruneConfig:
        """The options of the pruning itself."""
        return PruneConfig.model_validate(self.model_dump(include=set(PruneConfig.model_fields)))
