"""A report with every verdict."""

from __future__ import annotations

import pytest

from edgekit.core.layer_error import Culprit
from edgekit.gate.options import GateOptions
from edgekit.gate.verdict import CheckReport, Finding, Verdict, overall


@pytest.fixture
def report() -> CheckReport:
    findings = (
        Finding(artifact="net.tflite", gate="size", verdict=Verdict.PASS, text="1 B, as before."),
        Finding(
            artifact="net.tflite",
            gate="accuracy",
            verdict=Verdict.FAIL,
            text="90.00 %, −2.00 points from the <baseline's> 92.00 %.",
            remedy="If this loss is wanted, accept it with --update.",
            minimum_effect=0.011,
            culprit=Culprit(
                tensor="relu", layer="conv_2", operators=("CONV_2D",), cause="clipping",
                text="Half of its values are cut off.",
            ),
        ),
        Finding(
            artifact="net.tflite",
            gate="latency",
            verdict=Verdict.CANNOT_TELL,
            text="1.02 times | on both sides.",
            remedy="About 90 loads would tell.",
            minimum_effect=0.034,
            needed=90,
        ),
        Finding(
            artifact="net.mlpackage",
            gate="memory",
            verdict=Verdict.NOT_CHECKED,
            text="The baseline does not gate it: control \x07 character.",
        ),
    )  # fmt: skip
    return CheckReport(
        verdict=overall(findings),
        baseline="baseline.json",
        model="net_1",
        findings=findings,
        options=GateOptions(),
        device="CPU",
        edgekit_version="0.1.0",
        duration_s=1.5,
        notes=("A note.",),
    )
