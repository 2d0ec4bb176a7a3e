"""SARIF, checked with the models of sarif-pydantic: nothing unknown, nothing left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sarif_pydantic import Sarif

from edgekit.gate.reports.sarif import line_of, sarif_log, sarif_text
from edgekit.gate.verdict import CheckReport


def test_the_log_is_sarif(report: CheckReport) -> None:
    written = json.loads(sarif_text(report))
    log = Sarif.model_validate(written)
    again = log.model_dump(mode="json", by_alias=True, exclude_unset=True)
    again.setdefault("$schema", written["$schema"])
    assert again == written


def test_only_what_is_not_well_is_a_result(report: CheckReport) -> None:
    (run,) = sarif_log(report)["runs"]
    assert [(item["ruleId"], item["level"]) for item in run["results"]] == [
        ("edgekit/accuracy", "error"),
        ("edgekit/latency", "warning"),
    ]
    rules = run["tool"]["driver"]["rules"]
    for item in run["results"]:
        assert rules[item["ruleIndex"]]["id"] == item["ruleId"]
    text = run["results"][0]["message"]["text"]
    assert text.startswith("net.tflite: fail. 90.00 %")
    assert "layer conv_2" in text
    prints = [item["partialFingerprints"]["edgekitFinding/v1"] for item in run["results"]]
    assert prints == ["net.tflite:accuracy", "net.tflite:latency"]


def test_a_result_stands_at_the_artifacts_line(
    report: CheckReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ci" / "baseline.json"
    path.parent.mkdir()
    path.write_text('{\n "artifacts": {\n  "net.tflite": {\n  }\n }\n}\n')
    monkeypatch.chdir(tmp_path)
    placed = report.model_copy(update={"baseline": "ci/baseline.json"})
    place = sarif_log(placed)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place == {
        "artifactLocation": {"uri": "ci/baseline.json", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3},
    }
    assert line_of(path, "other.tflite") == 1
    assert line_of(tmp_path / "none.json", "net.tflite") == 1
    outside = report.model_copy(update={"baseline": "/somewhere/baseline.json"})
    place = sarif_log(outside)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "file:///somewhere/baseline.json"}


def test_a_path_is_written_as_a_uri(
    report: CheckReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    placed = report.model_copy(update={"baseline": "my models/50 %.json"})
    place = sarif_log(placed)["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "my%20models/50%20%25.json"
