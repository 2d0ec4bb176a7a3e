"""Where the time of one artifact goes, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from pydantic import Field

from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel

CONFIDENCE = 0.95


class ProfileConfig(FrozenModel):
    """Options of a profile."""

    threads: int = Field(1, ge=1, description="Threads given to the runtime.")
    warmup_runs: int = Field(10, ge=0, description="Runs before measuring, not counted.")
    runs: int = Field(50, ge=1, description="Profiled runs in each load.")
    loads: int = Field(
        5, ge=2, le=100, description="Fresh loads of the artifact; intervals are over them."
    )


class Estimate(FrozenModel):
    """A figure with its interval.

    Attributes:
        value: Mean over the loads.
        low: Lower end of the 95 % interval over loads, which also holds what the runtime's clock
            rounds away.
        high: Upper end.
    """

    value: float
    low: float
    high: float


class OpFacts(FrozenModel):
    """What is known of an operator before it is timed.

    Attributes:
        index: Its place in the file, or in the graph that the runtime made of it; None for what
            the runtime does besides.
        op: Its type, as the file or the runtime calls it.
        name: Value of the canonical graph that it computes, where the file says so; else its own.
        shape: Sizes of its first output in the stored order; empty where they are not known.
        dtype: Element type of that output; empty where it is not known.
        partition: Who runs it: ``"XNNPACK 1"``, ``"LiteRT kernel"``, ``"CPUExecutionProvider"``.
        kernels: What the runtime calls the parts that were timed; empty for an operator that it
            fused into another or left out.
        macs: Multiply-accumulates; None where they are not known.
        float_island: Whether it computes in float although the artifact computes on integers.
        reason: Why it does, where the file says so.
    """

    index: int | None
    op: str
    name: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    partition: str
    kernels: tuple[str, ...] = ()
    macs: int | None = None
    float_island: bool = False
    reason: str = ""


class ProfiledOp(OpFacts):
    """An operator with its time.

    Attributes:
        time_us: Microseconds in a run.
        share: Part of the sum over all operators, 0 to 1.
        gmacs_per_s: Multiply-accumulates in a second, in units of 1e9; None where there are none
            or the time is below what the runtime's clock can tell.
    """

    time_us: Estimate
    share: Estimate
    gmacs_per_s: float | None


class ProfileTotal(FrozenModel):
    """Several operators together.

    Attributes:
        key: Their type, or the partition that they run in.
        operators: How many.
        time_us: Microseconds in a run.
        share: Part of the sum over all operators.
        macs: Multiply-accumulates; None where one of them has an unknown number.
        gmacs_per_s: As in `ProfiledOp`.
    """

    key: str
    operators: int
    time_us: Estimate
    share: Estimate
    macs: int | None
    gmacs_per_s: float | None


class OpProfile(FrozenModel):
    """The profile of one artifact, with its conditions.

    Attributes:
        kind: Tells this from other results.
        version: Of this form.
        target: Target that ran it.
        runtime: Runtime and version.
        device: Processor.
        threads: Threads given to the runtime.
        loads: Fresh loads.
        runs: Profiled runs in each load; the faster half of them, by their whole time, counts.
        method: How the times were taken, in a sentence.
        resolution_us: Step of the clock behind the operators' times, in microseconds.
        operators: In the order in which they run.
        by_type: Totals for each type, the longest first.
        by_partition: Totals for each partition, the longest first.
        sum_us: All operators together.
        latency_us: A run of the same artifact without profiler, measured in turn with it.
        profiled_us: A run with the profiler, as its caller sees it.
        coverage: ``sum_us / latency_us``.
        notes: What a reader must know besides.
    """

    kind: Literal["op-profile"] = "op-profile"
    version: Literal[1] = 1
    target: str
    runtime: str
    device: str
    threads: int
    loads: int
    runs: int
    method: str
    resolution_us: float
    operators: tuple[ProfiledOp, ...]
    by_type: tuple[ProfileTotal, ...]
    by_partition: tuple[ProfileTotal, ...]
    sum_us: Estimate
    latency_us: Estimate
    profiled_us: Estimate
    coverage: Estimate
    notes: tuple[str, ...] = ()


type LoadDone = Callable[[], None]
"""Called after each load."""


@runtime_checkable
class ProfilingTarget(Protocol):
    """A target whose runtime tells the time of single operators."""

    def profile(
        self, artifact: Path, config: ProfileConfig, done: LoadDone | None = None
    ) -> OpProfile | Unavailable:
        """Profiles an artifact on this machine with inputs of fixed random values.

        A dynamic batch is profiled at 1.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it.
        """
