"""What the doctor finds."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from edgekit.cli import checks

type Call = Callable[..., Result]

REQUIREMENTS = [
    "numpy>=2",
    "pytest<1",
    "no-such-distribution>=1",
    'absent-extra>=1; extra == "coreml"',
    'rich<1; extra == "report"',
    'rich<1; extra == "all"',
    'edgekit[zoo]; extra == "dev"',
]


def test_this_machine_is_ready(call: Call) -> None:
    result = call("doctor")
    assert result.exit_code == 0, result.output
    for part in ("Python", "torch", "target tflite", "processor", "data folder", "disk"):
        assert part in result.stdout


def test_json_is_pure(call: Call) -> None:
    result = call("doctor", "--json")
    found = {item["part"]: item for item in json.loads(result.stdout)}
    assert found["Python"]["state"] == "ok"
    assert found["Python"]["found"].startswith(
        f"{sys.version_info.major}.{sys.version_info.minor}"
    )


def test_versions_are_held_against_the_requirements() -> None:
    found = {check.part: check for check in checks.distribution_checks(REQUIREMENTS)}
    assert found["numpy"].state == "ok"
    assert found["pytest"].state == "missing"
    assert found["pytest"].remedy == "pip install 'pytest<1'"
    assert found["no-such-distribution"].state == "missing"
    assert found["absent-extra (coreml)"].state == "optional"
    assert found["absent-extra (coreml)"].remedy == "pip install 'edgekit[coreml]'"
    assert found["rich (report)"].state == "warning"
    assert len(found) == 5


def test_something_essential_missing_is_exit_5(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_requirements", lambda: REQUIREMENTS)
    result = call("doctor")
    assert result.exit_code == 5
    assert "no-such-distribution" in result.stdout
    assert "error: 2 essential parts are missing" in result.stderr
    assert "pytest, no-such-distribution" in result.stderr


def test_data_folder_that_is_named_but_missing_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path / "nowhere"))
    assert checks.data_check().state == "warning"
    (tmp_path / "nowhere" / "mnist").mkdir(parents=True)
    assert checks.data_check() == checks.Check(
        "data folder", "ok", f"{tmp_path / 'nowhere'}: mnist"
    )


def test_processor_has_a_name() -> None:
    assert checks.processor_check().state == "ok"
    assert "logical" in checks.processor_check().found
