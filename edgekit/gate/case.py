"""One artifact beside its entry in the baseline, and what all such cases share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.metrics import Unavailable
from edgekit.core.progress import Progress
from edgekit.data.contract import DataSpec
from edgekit.gate.baseline import Baseline, KeptArtifact
from edgekit.gate.culprit import CulpritFinder
from edgekit.gate.kept_artifacts import KeptArtifacts
from edgekit.gate.options import Budget, GateOptions
from edgekit.gate.subject import Subject
from edgekit.gate.verdict import Finding, Gate, Verdict


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What the gates of all artifacts share.

    Attributes:
        baseline: What is compared with.
        kept: Its artifacts.
        options: Tolerances.
        budget: How long a verdict may be looked for.
        spec: The samples as they are opened here; None when accuracy is not gated.
        data_problem: Why the samples are not those of the baseline; empty when they are.
        folder: The output folder; None for single artifacts.
        reference: Float model to compare layers with; None looks in the folder.
        find_culprit: Names the layer of a loss.
        progress: Receives the advance.
    """

    baseline: Baseline
    kept: KeptArtifacts
    options: GateOptions
    budget: Budget
    spec: DataSpec | None
    data_problem: str
    folder: Path | None
    reference: Path | None
    find_culprit: CulpritFinder
    progress: Progress


@dataclass(frozen=True, slots=True)
class Case:
    """One artifact beside its entry in the baseline.

    Attributes:
        subject: The artifact.
        entry: The baseline's.
        before: The baseline's artifact, or why it is not at hand.
        same_environment: Whether device and runtime are those of the baseline.
    """

    subject: Subject
    entry: KeptArtifact
    before: Path | Unavailable
    same_environment: bool

    @property
    def identical(self) -> bool:
        """Whether the artifact is that of the baseline, byte for byte."""
        return self.subject.digest == self.entry.digest

    def finding(self, gate: Gate, verdict: Verdict, text: str, **more: object) -> Finding:
        """A finding on this artifact."""
        return Finding.model_validate(
            {"artifact": self.subject.name, "gate": gate, "verdict": verdict, "text": text, **more}
        )
