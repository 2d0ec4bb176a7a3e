"""Verdicts on figures that are exact enough to be compared as they are: size and memory."""

from __future__ import annotations

from edgekit.gate.verdict import Finding, Gate, Verdict
from edgekit.report.figures import format_bytes


def judge_bytes(gate: Gate, artifact: str, before: int, now: int, tolerance: float) -> Finding:
    """Compares two numbers of bytes.

    Args:
        gate: ``"size"`` or ``"memory"``.
        artifact: Name of the file.
        before: Of the baseline.
        now: Of the artifact.
        tolerance: Share by which it may be larger.
    """
    change = (now - before) / before if before else float(now > 0)
    grown = now > before * (1 + tolerance)
    figures = f"{format_bytes(now)}, {_change(change)} the baseline's {format_bytes(before)}"
    text = f"{figures}; {tolerance:.1%} more is accepted." if change else f"{figures}."
    return Finding(
        artifact=artifact,
        gate=gate,
        verdict=Verdict.FAIL if grown else Verdict.PASS,
        text=text,
        remedy="If this growth is wanted, accept it with --update." if grown else "",
        before=before,
        now=now,
        unit="bytes",
        minimum_effect=tolerance,
    )


def _change(change: float) -> str:
    if not change:
        return "as"
    return f"{abs(change):.1%} {'above' if change > 0 else 'below'}"
