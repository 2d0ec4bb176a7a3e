"""How many instructions of the processor one inference takes."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Literal, Protocol, runtime_checkable

from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel


class InstructionCount(FrozenModel):
    """Instructions of one inference, counted by a simulated processor.

    Counts tell of regressions within one kind of arithmetic and one target, for they do not
    change with what else the machine does. They are no latency: an instruction may take longer
    than another, and the simulated processor is not the real one.

    Attributes:
        kind: Tells this from other results.
        version: Of this form.
        runs: Instructions of each counted inference, without those of an empty call.
        target: Target that ran it.
        runtime: Runtime and version.
        arithmetic: Types of numbers that its layers compute with, such as ``"int8 x int8"``;
            counts of different ones are not comparable.
        processor: What the simulator presents, with the extensions that the kernels are chosen
            by.
        tool: The simulator and its version.
        threads: Always 1: a thread that waits would count as well.
        batch: Samples in an inference.
    """

    kind: Literal["instruction-count"] = "instruction-count"
    version: Literal[1] = 1
    runs: tuple[int, ...]
    target: str
    runtime: str
    arithmetic: str
    processor: str
    tool: str
    threads: Literal[1] = 1
    batch: int = 1

    @property
    def instructions(self) -> int:
        """Median of the runs."""
        return int(median(self.runs))

    @property
    def spread(self) -> float:
        """Largest difference between runs as a share of the median; 0 where all are equal."""
        return (max(self.runs) - min(self.runs)) / max(1, self.instructions)


def not_comparable(a: InstructionCount, b: InstructionCount) -> str:
    """Why the ratio of two counts says nothing; empty where it does."""
    for what, left, right in (
        ("target", a.target, b.target),
        ("arithmetic", a.arithmetic, b.arithmetic),
        ("runtime", a.runtime, b.runtime),
        ("simulated processor", a.processor, b.processor),
        ("simulator", a.tool, b.tool),
    ):
        if left != right:
            return (
                f"instruction counts are comparable within one {what} only, and here it is "
                f"{left} against {right}"
            )
    return ""


@runtime_checkable
class CountingTarget(Protocol):
    """A target whose runtime can be counted."""

    def count_instructions(self, artifact: Path) -> InstructionCount | Unavailable:
        """Counts the instructions of an inference on fixed random inputs, with one thread.

        Returns:
            The counts, or why this machine cannot count.

        Raises:
            InputError: If the file is missing, damaged or of another format.
            UnsupportedError: If the runtime refuses it or dies under the simulator.
        """
