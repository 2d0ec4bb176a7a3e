"""JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from edgekit.gate.options import OnUnknown
from edgekit.gate.reports.junit import junit_xml
from edgekit.gate.verdict import CheckReport


@pytest.mark.parametrize(
    ("on_unknown", "counts"),
    [("fail", ("4", "1", "1", "1")), ("warn", ("4", "1", "0", "2"))],
)
def test_counts_and_cases(
    report: CheckReport, on_unknown: OnUnknown, counts: tuple[str, ...]
) -> None:
    root = ET.fromstring(junit_xml(report, on_unknown))
    (suite,) = root
    found = tuple(suite.get(key) for key in ("tests", "failures", "errors", "skipped"))
    assert found == counts
    found = tuple(root.get(key) for key in ("tests", "failures", "errors"))
    assert found == counts[:3]
    # The schema of Jenkins refuses it here.
    assert root.get("skipped") is None
    cases = {(case.get("classname"), case.get("name")): case for case in suite}
    assert list(cases) == [
        ("net.tflite", "size"),
        ("net.tflite", "accuracy"),
        ("net.tflite", "latency"),
        ("net.mlpackage", "memory"),
    ]
    (failure,) = cases["net.tflite", "accuracy"]
    assert failure.tag == "failure"
    assert failure.get("type") == "fail"
    assert "The loss comes from layer conv_2 (CONV_2D): Half of" in str(failure.text)
    (undecided,) = cases["net.tflite", "latency"]
    assert undecided.tag == ("error" if on_unknown == "fail" else "skipped")
    (skipped,) = cases["net.mlpackage", "memory"]
    assert (skipped.tag, "\x07" in str(skipped.get("message"))) == ("skipped", False)


def test_a_parser_of_junit_reads_it(report: CheckReport) -> None:
    read = JUnitXml.fromstring(junit_xml(report))
    (suite,) = read
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (4, 1, 1, 1)
    results = [[type(item) for item in case.result] for case in suite]
    assert results == [[], [Failure], [Error], [Skipped]]
    assert "The loss comes from layer conv_2" in list(suite)[1].result[0].text


def test_names_that_xml_cannot_hold(report: CheckReport) -> None:
    name = b"net\xff\x07.tflite".decode(errors="surrogateescape") + "\uffff"
    finding = report.findings[0].model_copy(update={"artifact": name, "text": name})
    root = ET.fromstring(junit_xml(report.model_copy(update={"findings": (finding,)})))
    assert root[0][0].get("classname") == "net\ufffd\ufffd.tflite\ufffd"
