"""The gate on instructions: the artifact beside the baseline's, both counted here.

Nothing of the count is kept in the baseline: another version of the runtime, the simulator or the
interpreter changes it, so both are counted in the same minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from edgekit.core.instruction_count import CountingTarget, InstructionCount, not_comparable
from edgekit.core.metrics import Unavailable
from edgekit.errors import EdgekitError
from edgekit.gate.case import Case, CheckContext
from edgekit.gate.verdict import Finding, Verdict

GATE: Literal["instructions"] = "instructions"
_UPDATE = "If this is wanted, accept it with --update."


def check_instructions(context: CheckContext, case: Case) -> Finding:
    """The verdict on one artifact; what cannot be counted is never a pass."""
    target = case.subject.target
    if not isinstance(target, CountingTarget):
        return case.finding(
            GATE,
            Verdict.NOT_CHECKED,
            f"Instructions of target {target.info.name} are not counted: its runtime here is not "
            "the one that runs on devices.",
        )
    if case.identical:
        return case.finding(
            GATE, Verdict.PASS, "The artifact is that of the baseline, byte for byte."
        )
    if isinstance(case.before, Unavailable):
        reason = f"There is nothing to count it beside: {case.before.reason}."
        return case.finding(GATE, Verdict.CANNOT_TELL, reason)
    before = _counted(target, case.before)
    now = before if isinstance(before, Unavailable) else _counted(target, case.subject.path)
    if isinstance(now, Unavailable) or isinstance(before, Unavailable):
        reason = now.reason if isinstance(now, Unavailable) else ""
        return case.finding(GATE, Verdict.CANNOT_TELL, f"It cannot be counted: {reason}")
    return judge_counts(case.subject.name, before, now, context.options.instruction_tolerance)


def judge_counts(
    artifact: str, before: InstructionCount, now: InstructionCount, tolerance: float
) -> Finding:
    """Compares two counts.

    Inferences of one process differ by a few hundred instructions, the same ones in every
    process, as the interpreter's memory fills: so the first is divided by the first, and so on.
    The verdict stands where it is the same for every such pair.

    Args:
        artifact: Name of the file.
        before: Of the baseline's artifact.
        now: Of the artifact.
        tolerance: Share by which there may be more.
    """
    reason = not_comparable(now, before)
    if reason:
        return Finding(
            artifact=artifact,
            gate=GATE,
            verdict=Verdict.CANNOT_TELL,
            text=f"{reason[0].upper()}{reason[1:]}.",
            remedy="Compare the latency, or make the baseline anew with --update.",
        )
    limit = 1 + tolerance
    ratio = now.instructions / before.instructions
    ratios = [a / b for a, b in zip(now.runs, before.runs, strict=False)]
    low, high = min(ratios), max(ratios)
    verdict, remedy = Verdict.PASS, ""
    if low > limit:
        verdict, remedy = Verdict.FAIL, _UPDATE
    elif high > limit:
        verdict = Verdict.CANNOT_TELL
        remedy = "The counts vary by more than what is left to the limit; raise the tolerance."
    return Finding(
        artifact=artifact,
        gate=GATE,
        verdict=verdict,
        text=(
            f"{now.instructions:,} instructions, {ratio:.4f} times the baseline's "
            f"{before.instructions:,} ({low:.4f} to {high:.4f} over all runs; up to {limit:g} is "
            f"accepted; {now.arithmetic}, {now.tool})."
        ),
        remedy=remedy,
        before=before.instructions,
        now=now.instructions,
        unit="instructions",
        minimum_effect=tolerance,
    )


def _counted(target: CountingTarget, path: Path) -> InstructionCount | Unavailable:
    try:
        found = target.count_instructions(path)
    except EdgekitError as error:
        return Unavailable(reason=str(error))
    if isinstance(found, Unavailable):
        return Unavailable(reason=f"{found.reason}.")
    return found
