"""Tolerances of the gate, and how long it may take to reach a verdict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.core.model_base import FrozenModel

MIN_LATENCY_TOLERANCE = 0.02


class GateOptions(FrozenModel):
    """What counts as a regression; kept in the baseline, so that it is reviewed with it."""

    margin: float = Field(
        0.5, ge=0, le=100, description="Points of top-1 accuracy that may be lost."
    )
    # Placement of buffers alone shifts latency by up to 1 %, see edgekit.measure.latency_loads.
    latency_tolerance: float = Field(
        MIN_LATENCY_TOLERANCE,
        ge=MIN_LATENCY_TOLERANCE,
        le=10,
        description="Share by which an artifact may be slower, 0.02 or more.",
    )
    size_tolerance: float = Field(
        0.01, ge=0, le=10, description="Share by which an artifact may be larger."
    )
    memory_tolerance: float = Field(
        0.05, ge=0, le=10, description="Share by which peak memory may grow."
    )
    # The same file counts the same within about 1e-3, see docs/instructions.md.
    instruction_tolerance: float = Field(
        0.01,
        ge=0.002,
        le=10,
        description="Share by which instructions may grow, 0.002 or more.",
    )
    confidence: float = Field(
        0.98,
        ge=0.8,
        le=0.9999,
        description="Coverage of the intervals; a false alarm has half the rest, 1 % for 0.98.",
    )
    latency: bool = Field(True, description="Gate latency.")
    memory: bool = Field(True, description="Gate peak memory.")
    instructions: bool = Field(
        False, description="Gate the instructions of an inference, counted with valgrind."
    )
    threads: int = Field(1, ge=1, description="Threads given to the runtime.")


class Budget(FrozenModel):
    """How long the gate may look for a verdict."""

    seconds: float = Field(
        60.0,
        gt=0,
        description="Seconds of each artifact's latency gate, and of further samples.",
    )
    max_samples: int | None = Field(
        None, ge=1, description="Samples at most where a limited set cannot tell; all by default."
    )


OnUnknown = Literal["fail", "warn"]
