"""What the gate says: a verdict for each artifact and quality, with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Literal

from edgekit.core.layer_error import Culprit
from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.gate.options import GateOptions
from edgekit.measure.latency import LatencyRatio

REPORT_SCHEMA_VERSION = 1

type Gate = Literal[
    "baseline", "environment", "accuracy", "latency", "instructions", "size", "memory"
]


class Verdict(StrEnum):
    """Outcome of one gate, or of all together."""

    PASS = "pass"
    FAIL = "fail"
    CANNOT_TELL = "cannot tell"
    NOT_CHECKED = "not checked"
    """The baseline says that this is not gated, and why."""


class Finding(FrozenModel):
    """The verdict of one gate on one artifact.

    Attributes:
        artifact: Name of its file; empty for what concerns the whole check.
        gate: What was looked at.
        verdict: The outcome.
        text: Why, in one or two sentences with the figures.
        remedy: What would tell, or what to do; empty where nothing has to be done.
        before: Figure of the baseline in ``unit``; None where there is none to compare with.
        now: Figure of the artifact in ``unit``.
        unit: ``"share"``, ``"ms"``, ``"bytes"`` or ``"instructions"``; empty without figures.
        minimum_effect: The smallest worsening, as a share, that this measurement would have
            failed in nine of ten cases; None where nothing was measured.
        needed: Loads or samples that would probably tell; None where none would or the verdict
            stands.
        paired: The flips behind a verdict on accuracy.
        ratio: The times behind a verdict on latency.
        culprit: The layer to blame, `Unavailable` where it was looked for in vain.
    """

    artifact: str = ""
    gate: Gate
    verdict: Verdict
    text: str
    remedy: str = ""
    before: float | None = None
    now: float | None = None
    unit: Literal["", "share", "ms", "bytes", "instructions"] = ""
    minimum_effect: float | None = None
    needed: int | None = None
    paired: PairedAccuracy | None = None
    ratio: LatencyRatio | None = None
    culprit: Culprit | Unavailable | None = None


class CheckReport(FrozenModel):
    """All that a check has to tell.

    Attributes:
        schema_version: Version of this form.
        verdict: Of all findings together.
        baseline: Path of the baseline as it was given.
        model: Name of the model in the baseline; empty when it could not be read.
        findings: In the order of the artifacts.
        options: Tolerances that the verdicts hold for.
        device: Processor of this machine.
        edgekit_version: Version that checked.
        duration_s: Time that it took.
        notes: What a reader should know besides.
    """

    schema_version: Literal[1] = 1
    verdict: Verdict
    baseline: str
    model: str
    findings: tuple[Finding, ...]
    options: GateOptions
    device: str
    edgekit_version: str
    duration_s: float
    notes: tuple[str, ...] = ()

    def of(self, verdict: Verdict) -> tuple[Finding, ...]:
        """The findings with that verdict."""
        return tuple(item for item in self.findings if item.verdict is verdict)


def overall(findings: Iterable[Finding]) -> Verdict:
    """One verdict for all: the worst; nothing checked is no pass."""
    known = tuple(findings)
    said = {item.verdict for item in known}
    if Verdict.FAIL in said:
        return Verdict.FAIL
    passed = any(item.verdict is Verdict.PASS and item.gate != "environment" for item in known)
    return Verdict.PASS if passed and Verdict.CANNOT_TELL not in said else Verdict.CANNOT_TELL
