"""SARIF 2.1.0: what failed or could not be told, placed in the baseline's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgekit.gate.reports.wording import full_text, subject_of
from edgekit.gate.verdict import CheckReport, Finding, Verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_RULES = {
    "baseline": "The artifact can be compared with the baseline.",
    "environment": "Figures are compared on the machine and runtime that they were taken on.",
    "accuracy": "The artifact is not less accurate than the baseline by more than the margin.",
    "latency": "The artifact is not slower than the baseline by more than the tolerance.",
    "size": "The artifact is not larger than the baseline by more than the tolerance.",
    "instructions": "An inference does not take more instructions than that of the baseline's "
    "artifact and the tolerance.",
    "memory": "The artifact does not need more memory than the baseline and the tolerance.",
}


def sarif_log(report: CheckReport) -> dict[str, Any]:
    """The log of one run.

    Passed gates give no result: code scanning would show them as alerts. A result stands at the
    artifact's line in the baseline, which is the file that a reviewer sees.
    """
    names = list(_RULES)
    results = [
        _result(finding, report, names.index(finding.gate))
        for finding in report.findings
        if finding.verdict in (Verdict.FAIL, Verdict.CANNOT_TELL)
    ]
    driver = {
        "name": "edgekit",
        "semanticVersion": report.edgekit_version,
        "rules": [
            {
                "id": f"edgekit/{name}",
                "name": f"{name.capitalize()}Gate",
                "shortDescription": {"text": text},
                "defaultConfiguration": {"level": "error"},
            }
            for name, text in _RULES.items()
        ],
    }
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "invocations": [{"executionSuccessful": True}],
                "columnKind": "utf16CodeUnits",
                "results": results,
            }
        ],
    }


def sarif_text(report: CheckReport) -> bytes:
    """The log as a file."""
    text = json.dumps(sarif_log(report), indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="replace")


def _result(finding: Finding, report: CheckReport, rule: int) -> dict[str, Any]:
    subject = subject_of(finding, report)
    path = Path(report.baseline)
    return {
        "ruleId": f"edgekit/{finding.gate}",
        "ruleIndex": rule,
        "level": "error" if finding.verdict is Verdict.FAIL else "warning",
        "message": {"text": f"{subject}: {finding.verdict.value}. {full_text(finding)}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": _location(path),
                    "region": {"startLine": line_of(path, finding.artifact)},
                }
            }
        ],
        "partialFingerprints": {"edgekitFinding/v1": f"{subject}:{finding.gate}"},
    }


def line_of(baseline: Path, artifact: str) -> int:
    """Line of the artifact's entry in the baseline, counted from 1; 1 where there is none."""
    try:
        lines = baseline.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 1
    start = f"{json.dumps(artifact, ensure_ascii=False)}: {{"
    return next((n for n, line in enumerate(lines, 1) if line.strip() == start), 1)


def _location(path: Path) -> dict[str, str]:
    """Relative to the checkout, which is where the command runs, if it lies within."""
    absolute = path.absolute()
    try:
        relative = absolute.relative_to(Path.cwd())
    except ValueError:
        return {"uri": absolute.as_uri()}
    return {"uri": quote(relative.as_posix()), "uriBaseId": "%SRCROOT%"}
