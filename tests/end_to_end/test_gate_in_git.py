"""The gate in a git repository: green, red with the layer named, and green again by --update."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner, Result

from edgekit.cli.main import app
from edgekit.core.layer_error import ArtifactErrors, Culprit, LayerComparison, Remedy
from edgekit.core.metadata import Preprocessing
from edgekit.core.quant import named_scheme
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import DataSpec
from edgekit.data.datasets import open_dataset
from edgekit.gate import culprit
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from tests.twin_graphs import make_model

type Array = npt.NDArray[Any]

PREPROCESSING = Preprocessing(channels="gray", scale=1 / 255, mean=(0.305,), std=(0.376,))
IMAGE = TensorSpec(name="image", shape=("batch", 1, 8, 8))
FEATURES = """
g (float[batch, 1, 8, 8] image) => (float[batch, 256] features) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1)
  [relu1] b = Relu (a)
  [conv2] c = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (b, w2)
  [relu2] d = Relu (c)
  [flat] features = Flatten (d)
}
"""
NET = FEATURES.replace("float[batch, 256] features) {", "float[batch, 10] scores) {").replace(
    "Flatten (d)\n", "Flatten (d)\n  [fc] scores = Gemm <transB = 1> (features, w3, b3)\n"
)
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


def digits(split: Any) -> tuple[Array, Array]:
    batches = list(
        open_dataset(DataSpec(set="digits", split=split)).batches(PREPROCESSING, IMAGE, 500)
    )
    images = np.concatenate([batch.inputs for batch in batches])
    return images, np.concatenate([batch.labels for batch in batches])


def write_net(path: Path) -> None:
    """Two random convolutions and a readout fitted by ridge regression: about 97 % right."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": (rng.standard_normal((8, 1, 3, 3)) / 3).astype(np.float32),
        "w2": (rng.standard_normal((16, 8, 3, 3)) / 8).astype(np.float32),
    }
    images, labels = digits("train")
    session = onnxruntime.InferenceSession(
        make_proto(FEATURES, weights), providers=["CPUExecutionProvider"]
    )
    (features,) = session.run(None, {"image": images})
    with_one = np.hstack([features, np.ones((len(features), 1), np.float32)]).astype(np.float64)
    wanted = 2.0 * np.eye(10)[labels] - 1
    gram = with_one.T @ with_one + 5.0 * np.eye(with_one.shape[1])
    fitted = np.linalg.solve(gram, with_one.T @ wanted).T.astype(np.float32)
    path.parent.mkdir()
    save_onnx(make_model(NET, {**weights, "w3": fitted[:, :-1], "b3": fitted[:, -1]}), path)


def make_proto(text: str, weights: dict[str, Array]) -> bytes:
    import onnx_ir as ir

    proto: bytes = ir.to_proto(make_model(text, weights)).SerializeToString()
    return proto


class Repository:
    """A checkout with its continuous integration."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        (folder / ".gitignore").write_text("out/\n.edgekit/\n")
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


def compare_tensors(sources: Sequence[str], data: DataSpec) -> LayerComparison:
    """Stands for the layer comparison: the first node whose output its own scale cuts off."""
    reference, artifact = map(Path, sources)
    assert (reference.name, artifact.name) == ("net.onnx", "net.int8.tflite")
    assert data.set == "digits"
    qdq_graph = artifact.parent / "net.qdq.onnx"
    graph = onnx.load(qdq_graph).graph
    makers = {node.output[0]: node for node in graph.node}
    values = all_values(qdq_graph, digits("test")[0][:64])
    layer = ""
    for node in graph.node:
        maker = makers.get(node.input[0])
        if node.op_type != "DequantizeLinear" or maker is None or maker.input[0] not in makers:
            continue
        before, after = values[maker.input[0]], values[node.output[0]]
        if np.square(after - before).sum() > 0.03 * np.square(before).sum():
            layer = makers[maker.input[0]].name
            break
    assert layer
    found = Culprit(
        tensor=layer, layer=layer, operators=(), cause="clipping", text="Its values are cut off."
    )
    remedy = Remedy(kind="minmax", layer=layer, text="Calibrate with minmax.")
    errors = ArtifactErrors(
        name=artifact.name, runtime="", format="tflite", layers=(), culprits=(found,),
        remedies=(remedy,), verdict="",
    )  # fmt: skip
    return LayerComparison(
        reference="", reference_runtime="", dataset="digits", samples=64, artifacts=(errors,)
    )


def all_values(path: Path, images: Array) -> dict[str, Array]:
    """Values of all node outputs, of all images together."""
    model = onnx.load(path)
    known = {item.name for item in model.graph.output}
    model.graph.output.extend(
        onnx.ValueInfoProto(name=node.output[0])
        for node in model.graph.node
        if node.output[0] not in known
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = [item.name for item in session.get_outputs()]
    one_by_one = [session.run(wanted, {"image": image[None]}) for image in images]
    return {name: np.stack(items) for name, *items in zip(wanted, *one_by_one, strict=True)}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    made = Repository(tmp_path / "checkout")
    monkeypatch.chdir(made.folder)
    monkeypatch.setattr(culprit, "COMPARISON", f"{__name__}:compare_tensors")
    monkeypatch.setitem(__import__("sys").modules, __name__, _this_module())
    return made


def _this_module() -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(compare_tensors=compare_tensors)


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
    assert failed["culprit"]["layer"] == "relu1"
    assert "The loss comes from layer relu1" in " ".join(red.stdout.split())
    assert "Calibrate with minmax." in " ".join(red.stdout.split())

    assert repository.check("--update").exit_code == 0
    changed = repository.git("status", "--porcelain").splitlines()
    assert [line.split()[0] for line in changed] == ["D", "M", "??"]
    repository.commit("Accept the loss")
    assert repository.check().exit_code == 0
    baseline = json.loads((repository.folder / "ci" / "baseline.json").read_text())
    assert baseline["options"]["margin"] == 2
