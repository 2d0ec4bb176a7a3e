"""One verdict for all findings."""

from __future__ import annotations

import pytest

from edgekit.gate.verdict import Finding, Gate, Verdict, overall


def finding(verdict: Verdict, gate: Gate = "size") -> Finding:
    return Finding(gate=gate, verdict=verdict, text="t")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ([Verdict.PASS, Verdict.PASS], Verdict.PASS),
        ([Verdict.PASS, Verdict.NOT_CHECKED], Verdict.PASS),
        ([Verdict.PASS, Verdict.CANNOT_TELL], Verdict.CANNOT_TELL),
        ([Verdict.PASS, Verdict.CANNOT_TELL, Verdict.FAIL], Verdict.FAIL),
        ([Verdict.NOT_CHECKED], Verdict.CANNOT_TELL),
        ([], Verdict.CANNOT_TELL),
    ],
)
def test_the_worst_counts_and_nothing_checked_is_no_pass(
    said: list[Verdict], verdict: Verdict
) -> None:
    assert overall(map(finding, said)) is verdict


def test_the_right_machine_alone_is_no_pass() -> None:
    assert overall([finding(Verdict.PASS, "environment")]) is Verdict.CANNOT_TELL
