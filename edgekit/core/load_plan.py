"""How two artifacts are timed against each other."""

from __future__ import annotations

from pydantic import Field

from edgekit.core.model_base import FrozenModel

MIN_LOADS = 6


class LoadPlan(FrozenModel):
    """Options of `edgekit.measure.latency_loads`."""

    # The bootstrap of fewer cannot reach far enough out for its coverage.
    loads: int = Field(12, ge=MIN_LOADS, description="Fresh loads of both artifacts.")
    pairs: int = Field(20, ge=1, description="Interleaved pairs of runs in each load.")
    warmup_runs: int = Field(5, ge=0, description="Runs of each before the pairs of a load.")
    seed: int = Field(0, ge=0, description="Seed of the order within pairs and of the bootstrap.")

    @classmethod
    def of_total(cls, runs: int, *, loads: int, warmup_runs: int) -> LoadPlan:
        """Spreads ``runs`` pairs, rounded up, over the loads."""
        return cls(loads=loads, pairs=-(-runs // loads), warmup_runs=warmup_runs)
