"""The gate in a git repository: green, red with the layer named, and green again by --update."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from edgekit.cli.main import app
from edgekit.core.quant import named_scheme
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from tests.digits_network import digits, write_net

PROJECT = """
name = "net"
[model]
source = "net.qdq.onnx"
[model.preprocessing]
channels = "gray"
scale = 0.00392156862745098
mean = [0.305]
std = [0.376]
[data]
set = "digits"
[targets.tflite]
precision = ["int8"]
[benchmark]
enabled = false
"""


class Repository:
    """A checkout with its continuous integration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        (folder / ".gitignore").write_text("out/\n.edgekit/\n.edgekit.history.sqlite*\n")
        write_net(folder / "float" / "net.onnx")
        graph = load_onnx(folder / "float" / "net.onnx")
        images = digits("train")[0][:128]
        feeds = [{"image": image[None]} for image in images]
        options = PtqOptions(method="minmax")
        made = quantize_ptq(graph, lambda: iter(feeds), named_scheme("int8"), options)
        save_onnx(made.model, folder / "net.qdq.onnx")
        (folder / "edgekit.toml").write_text(PROJECT)

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
        done = subprocess.run(
            ["git", *identity, *words], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    def spoil(self, scale: str) -> None:
        """Makes a scale six times too small, as a hand that edits the graph might."""
        path = self.folder / "net.qdq.onnx"
        model = onnx.load(path)
        (found,) = [item for item in model.graph.initializer if item.name == scale]
        value = numpy_helper.to_array(found) / np.float32(6)
        found.CopyFrom(numpy_helper.from_array(value, scale))
        onnx.save(model, path)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def convert(self) -> None:
        done = self.call("run", "edgekit.toml", "-o", "out")
        assert done.exit_code == 0, done.output

    def check(self, *words: str) -> Result:
        given = ("--baseline", "ci/baseline.json", "--reference", "float/net.onnx")
        return self.call("check", "out", *given, *words)

    def call(self, *words: str) -> Result:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, list(words))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "checkout")
    monkeypatch.chdir(made.folder)
    return made


def test_green_red_with_the_layer_and_green_again(repository: Repository) -> None:
    repository.convert()
    made = repository.check("--update", "--data", "digits", "--margin", "2")
    assert made.exit_code == 0, made.output
    repository.commit("The model, its project and its baseline")
    tracked = repository.git("ls-files").split()
    assert "ci/baseline.json" in tracked
    assert sum(name.startswith("ci/baseline.artifacts/") for name in tracked) == 1

    # The next commit changes nothing that matters; everything is made anew.
    repository.convert()
    assert repository.check().exit_code == 0
    assert repository.git("status", "--porcelain") == ""

    repository.spoil("b/scale")
    repository.commit("A finer scale")
    repository.convert()
    red = repository.check("--report", "out/check.json")
    assert red.exit_code == 4, red.output
    assert "accuracy of net.int8.tflite" in red.stderr
    findings = json.loads((repository.folder / "out" / "check.json").read_text())["findings"]
    (failed,) = [item for item in findings if item["verdict"] == "fail"]
    assert (failed["artifact"], failed["gate"]) == ("net.int8.tflite", "accuracy")
    assert (failed["culprit"]["layer"], failed["culprit"]["cause"]) == ("relu1", "clipping")
    told = " ".join(red.stdout.split())
    assert "The loss comes from layer relu1" in told
    assert "of the samples: its scale" in told
    assert "Quantize again, with the default calibration" in told

    assert repository.check("--update").exit_code == 0
    changed = repository.git("status", "--porcelain").splitlines()
    assert [line.split()[0] for line in changed] == ["D", "M", "??"]
    repository.commit("Accept the loss")
    assert repository.check().exit_code == 0
    baseline = json.loads((repository.folder / "ci" / "baseline.json").read_text())
    assert baseline["options"]["margin"] == 2
