"""JUnit XML: one test case for each artifact and gate."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from edgekit.gate.options import OnUnknown
from edgekit.gate.reports.wording import full_text, subject_of
from edgekit.gate.verdict import CheckReport, Finding, Verdict

_UNFIT = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(report: CheckReport, on_unknown: OnUnknown = "fail") -> bytes:
    """The report as Jenkins, GitLab and others read it.

    A failed gate is a failure. What cannot be told is an error, or with ``warn`` skipped; what
    the baseline does not gate is skipped.
    """
    suite = ET.Element("testsuite", name="edgekit check", time=f"{report.duration_s:.3f}")
    counts = dict.fromkeys(("failures", "errors", "skipped"), 0)
    for finding in report.findings:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=_clean(subject_of(finding, report)),
            name=finding.gate,
            time="0",
        )
        kind = _kind(finding, on_unknown)
        if kind:
            tag, count = kind
            counts[count] += 1
            element = ET.SubElement(case, tag, message=_clean(finding.text))
            if tag != "skipped":
                element.set("type", finding.verdict.value)
                element.text = _clean(full_text(finding))
        else:
            ET.SubElement(case, "system-out").text = _clean(full_text(finding))
    suite.set("tests", str(len(report.findings)))
    for name, total in counts.items():
        suite.set(name, str(total))
    # The schema of Jenkins (junit-10.xsd) knows no "skipped" here.
    root = ET.Element("testsuites", {k: v for k, v in suite.attrib.items() if k != "skipped"})
    root.append(suite)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _kind(finding: Finding, on_unknown: OnUnknown) -> tuple[str, str] | None:
    if finding.verdict is Verdict.FAIL:
        return "failure", "failures"
    if finding.verdict is Verdict.CANNOT_TELL and on_unknown == "fail":
        return "error", "errors"
    if finding.verdict in (Verdict.CANNOT_TELL, Verdict.NOT_CHECKED):
        return "skipped", "skipped"
    return None


def _clean(text: str) -> str:
    """Without what XML 1.0 cannot hold: control characters, halves of pairs and non-characters.

    A file name that is no valid UTF-8 brings such halves along.
    """
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)
