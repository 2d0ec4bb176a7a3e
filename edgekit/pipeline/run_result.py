"""What a run gives back to its caller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.core.artifact import Artifact
from edgekit.core.run_summary import RunSummary
from edgekit.core.stage import Note


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step that has ended.

    Attributes:
        id: Name within the plan.
        key: Key of its record in the store, hex.
        reused: True when the store already held the result.
        duration_s: Time the work took when it was done, also for a reused step.
        artifacts: By output slot; the paths lie in the store and must not be changed.
        metrics: JSON values that the stage gave.
        notes: Reasons that the stage gave, and why an older result was not used.
    """

    id: str
    key: str
    reused: bool
    duration_s: float
    artifacts: Mapping[str, Artifact]
    metrics: Mapping[str, Any]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        steps: In the order in which they were executed.
        outputs: Files and folders in the output folder that this run stands for.
        written: Those of them that were not there yet or were different.
        summary: All results, typed; None when the plan makes no summary.
        history_problem: Why the run could not be recorded in the history, with what to do;
            empty where it was, or was not to be.
    """

    steps: tuple[StepResult, ...]
    outputs: tuple[Path, ...]
    written: tuple[Path, ...]
    summary: RunSummary | None
    history_problem: str = ""

    @property
    def ran(self) -> tuple[str, ...]:
        """Ids of the steps whose work was done in this run."""
        return tuple(step.id for step in self.steps if not step.reused)

    @property
    def reused(self) -> tuple[str, ...]:
        """Ids of the steps whose results were there already."""
        return tuple(step.id for step in self.steps if step.reused)

    def step(self, step_id: str) -> StepResult:
        """The step of that id; raises KeyError when there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def describe(self) -> str:
        """One sentence on what was done and what was not."""
        total = len(self.steps)
        if not self.ran and not self.written:
            return f"Nothing to do: all {total} steps were done before with the same inputs."
        if not self.ran:
            names = ", ".join(path.name for path in self.written)
            return f"All {total} steps were done before; {names} written again."
        if not self.reused:
            return f"Ran all {total} steps."
        return f"Ran {len(self.ran)} of {total} steps ({', '.join(self.ran)}); reused the others."
