"""JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

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
    for element in (root, suite):
        found = tuple(element.get(key) for key in ("tests", "failures", "errors", "skipped"))
        assert found == counts
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
