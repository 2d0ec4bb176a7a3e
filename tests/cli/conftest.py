"""Small model files, good and bad, and a way to call the command line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner, Result

from edgekit.cli.main import app

CLASSES = 10


def classifier(
    kernel: npt.NDArray[np.float32], *, op: str = "Relu", domain: str = ""
) -> onnx.ModelProto:
    """Convolution, activation, global average: ``image [1, 1, 8, 8] -> scores [1, 10]``."""
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node(op, ["a"], ["b"], name="activation", domain=domain),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], name="pool"),
        helper.make_node("Flatten", ["c"], ["scores"], name="flatten"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    opsets = [helper.make_opsetid("", 17)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``good.onnx`` and files that are each wrong in one way."""
    folder = tmp_path_factory.mktemp("models")
    kernel = np.random.default_rng(0).standard_normal((CLASSES, 1, 3, 3)).astype(np.float32)
    onnx.save(classifier(kernel), folder / "good.onnx")
    onnx.save(classifier(kernel, op="Sparkle"), folder / "unknown_op.onnx")
    onnx.save(classifier(kernel, op="Sparkle", domain="com.example"), folder / "custom_op.onnx")
    broken = kernel.copy()
    broken[0, 0, 0, 0] = np.nan
    onnx.save(classifier(broken), folder / "nan.onnx")
    whole = (folder / "good.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "text.onnx").write_text("I am no model.\n")
    return folder


@pytest.fixture(autouse=True)
def _own_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands record themselves in the current folder, which is not to be the checkout."""
    monkeypatch.chdir(tmp_path_factory.mktemp("current"))


type Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    """Calls the command line in this process."""

    def invoke(*line: str | Path) -> Result:
        # Test runners that work in parallel set COLUMNS, and narrow tables fold their words.
        runner = CliRunner(env={"COLUMNS": "160"})
        return runner.invoke(app, [str(word) for word in line])

    return invoke
