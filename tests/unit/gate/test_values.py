"""Verdicts on bytes."""

from __future__ import annotations

import pytest

from edgekit.gate.values import judge_bytes
from edgekit.gate.verdict import Verdict


@pytest.mark.parametrize(
    ("before", "now", "verdict", "text"),
    [
        (1000, 1000, Verdict.PASS, "1000 B, as the baseline's 1000 B."),
        (1000, 1010, Verdict.PASS, "1.0% above the baseline's 1000 B; 1.0% more is accepted."),
        (1000, 1011, Verdict.FAIL, "1011 B, 1.1% above the baseline's"),
        (1000, 10, Verdict.PASS, "99.0% below the baseline's"),
        (0, 1, Verdict.FAIL, "above the baseline's 0 B"),
        (0, 0, Verdict.PASS, "as the baseline's"),
    ],
)
def test_growth_beyond_the_tolerance_fails(
    before: int, now: int, verdict: Verdict, text: str
) -> None:
    found = judge_bytes("size", "net.tflite", before, now, 0.01)
    assert found.verdict is verdict
    assert text in found.text
    assert ("--update" in found.remedy) == (verdict is Verdict.FAIL)
