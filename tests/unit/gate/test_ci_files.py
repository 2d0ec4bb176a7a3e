"""The action and the examples: valid by their schemas, and the action's script is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.unit.gate.conftest import Bench, write_classifier

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.github-actions", "action.yml"),
        ("vendor.github-workflows", "docs/ci/github.yml"),
        ("vendor.gitlab-ci", "docs/ci/gitlab-ci.yml"),
    ],
)
def test_files_are_valid(schema: str, file: str) -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        str(ROOT / file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def action() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load((ROOT / "action.yml").read_text())
    return loaded


class Step:
    """The action's step *Check*, with inputs as GitHub would hand them over."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.output = bench.folder / "github-output"
        self.summary = bench.folder / "summary.md"

    def run(self, **inputs: str) -> tuple[int, dict[str, str]]:
        declared = action()["inputs"]
        values = {name: str(item.get("default", "")) for name, item in declared.items()}
        values |= {name.replace("_", "-"): value for name, value in inputs.items()}
        (step,) = [item for item in action()["runs"]["steps"] if item.get("id") == "check"]
        variables = {
            name: values[text.removeprefix("${{ inputs.").removesuffix(" }}")]
            for name, text in step["env"].items()
        }
        commands = self.bench.folder / "bin"
        commands.mkdir(exist_ok=True)
        for name, line in (("edgekit", "-m edgekit"), ("python", "")):
            tool = commands / name
            tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {line} "$@"\n')
            tool.chmod(0o755)
        self.output.write_text("")
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.bench.folder,
            env={
                **os.environ,
                **variables,
                "PATH": f"{commands}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "GITHUB_OUTPUT": str(self.output),
                "GITHUB_STEP_SUMMARY": str(self.summary),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        lines = self.output.read_text().splitlines()
        return done.returncode, dict(line.split("=", 1) for line in lines)


def test_the_script_of_the_action(bench: Bench) -> None:
    bench.update()
    step = Step(bench)
    code, outputs = step.run(path="lines.onnx", arguments="--margin 1")
    assert (code, outputs["verdict"]) == (0, "pass")
    report = json.loads((bench.folder / outputs["report"]).read_text())
    assert report["options"]["margin"] == 1
    assert (bench.folder / outputs["sarif"]).is_file()
    assert (bench.folder / outputs["junit"]).is_file()
    assert "Verdict: pass" in step.summary.read_text()
    # What looks like a command is a value.
    code, outputs = step.run(path="lines.onnx", data="$(touch owned); x")
    assert (code, outputs["verdict"]) == (4, "cannot tell")
    assert not (bench.folder / "owned").exists()
    # Each line counts, also those behind the first.
    write_classifier(bench.folder / "worse" / "other.onnx")
    code, outputs = step.run(path="lines.onnx\nworse/other.onnx\n", arguments="--margin\n1")
    assert (code, outputs["verdict"]) == (4, "cannot tell")
    report = json.loads((bench.folder / outputs["report"]).read_text())
    assert {item["artifact"] for item in report["findings"]} == {"lines.onnx", "other.onnx"}
    code, outputs = step.run(path="none.onnx")
    assert (code, outputs) == (2, {})


def test_outputs_are_those_of_the_script() -> None:
    declared = {name: item["value"] for name, item in action()["outputs"].items()}
    assert declared == {name: f"${{{{ steps.check.outputs.{name} }}}}" for name in declared}
    script = "".join(item.get("run", "") for item in action()["runs"]["steps"])
    assert all(f"{name}=" in script for name in declared)
    # No expression within a script: an input could close the quotes.
    assert "${{" not in script
