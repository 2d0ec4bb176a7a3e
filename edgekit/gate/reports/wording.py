"""Words that all forms of the report share."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.layer_error import Culprit
from edgekit.core.metrics import Unavailable
from edgekit.gate.verdict import CheckReport, Finding, Verdict


def subject_of(finding: Finding, report: CheckReport) -> str:
    """What the finding is about: the artifact, or else the baseline."""
    return finding.artifact or Path(report.baseline).name


def culprit_text(finding: Finding) -> str:
    """The layer to blame, or why none is named; empty where none was looked for."""
    culprit = finding.culprit
    if isinstance(culprit, Culprit):
        operators = f" ({', '.join(culprit.operators)})" if culprit.operators else ""
        return f"The loss comes from layer {culprit.layer}{operators}: {culprit.text.rstrip('.')}."
    if isinstance(culprit, Unavailable):
        return f"No layer is named: {culprit.reason.rstrip('.')}."
    return ""


def effect_figure(finding: Finding) -> str:
    """The worsening that would have been found; empty where nothing was measured.

    Size, memory and instructions are compared as they are: what is beyond the tolerance is found.
    """
    if finding.minimum_effect is None or finding.gate in (
        "size",
        "memory",
        "instructions",
    ):
        return ""
    if finding.gate == "accuracy":
        return f"{100 * finding.minimum_effect:.2f} points"
    return f"{finding.minimum_effect:.1%}"


def effect_text(finding: Finding) -> str:
    """The same as a sentence; empty where it does not matter, as a failure was found."""
    figure = effect_figure(finding)
    if not figure or finding.verdict is Verdict.FAIL:
        return ""
    what = "loss" if finding.gate == "accuracy" else "slowdown"
    return f"It would have found a {what} of {figure} in 9 of 10 cases."


def told(finding: Finding) -> str:
    """The reason, the layer and the remedy, each on a line of its own."""
    lines = (finding.text, culprit_text(finding), finding.remedy)
    return "\n".join(line for line in lines if line)


def full_text(finding: Finding) -> str:
    """All that is to say, as sentences on lines of their own."""
    lines = (finding.text, culprit_text(finding), effect_text(finding), finding.remedy)
    return "\n".join(line for line in lines if line)


def verdict_sentence(report: CheckReport) -> str:
    """The verdict of the whole check with counts."""
    counts = [
        f"{len(found)} {name}"
        for verdict, name in (
            (Verdict.PASS, "passed"),
            (Verdict.FAIL, "failed"),
            (Verdict.CANNOT_TELL, "undecided"),
            (Verdict.NOT_CHECKED, "not checked"),
        )
        if (found := report.of(verdict))
    ]
    return f"Verdict: {report.verdict.value} ({', '.join(counts)})."
