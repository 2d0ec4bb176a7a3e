"""Markdown and wording."""

from __future__ import annotations

from edgekit.gate.reports.summary import markdown_summary
from edgekit.gate.reports.wording import effect_figure, full_text, verdict_sentence
from edgekit.gate.verdict import CheckReport


def test_a_row_for_each_finding(report: CheckReport) -> None:
    text = markdown_summary(report)
    lines = text.splitlines()
    assert lines[0] == r"## edgekit check of net\_1"
    assert "**Verdict: fail (1 passed, 1 failed, 1 undecided, 1 not checked).**" in lines
    rows = [line for line in lines if line.startswith("| net")]
    assert len(rows) == 4
    # A bar within a cell is escaped, so that each row has four cells.
    assert all(row.replace("\\|", "").count("|") == 5 for row in rows)
    assert r"\<baseline's\>" in rows[1]
    assert "**FAIL**" in rows[1]
    assert "It would have found a slowdown of 3.4% in 9 of 10 cases." in rows[2]
    assert "Note: A note." in lines
    assert "2.0% of latency" in text


def test_what_was_missed_does_not_matter_where_something_was_found(report: CheckReport) -> None:
    failed = report.findings[1]
    assert effect_figure(failed) == "1.10 points"
    assert "9 of 10" not in full_text(failed)
    assert full_text(failed).splitlines()[-1] == failed.remedy


def test_the_verdict_in_one_sentence(report: CheckReport) -> None:
    passed = report.model_copy(update={"findings": report.findings[:1]})
    assert verdict_sentence(passed) == "Verdict: fail (1 passed)."
