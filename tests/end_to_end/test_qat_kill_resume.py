"""A run killed by SIGKILL during fine-tuning goes on with the next epoch, to the same bytes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.graph.io import save_onnx
from tests.twin_graphs import make_model, weights

NET = """
g (float[batch, 1, 8, 8] image) => (float[batch, 10] scores) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1)
  [relu1] b = Relu (a)
  [conv2] c = Conv <strides = [2, 2]> (b, w2)
  [flat] d = Flatten (c)
  [fc] scores = Gemm <transB = 1> (d, w3)
}
"""

PROJECT = """
name = "net"
seed = 3
[model]
source = "net.onnx"
preprocessing = { channels = "gray", scale = 0.0039, mean = [0.3], std = [0.38] }
[data]
set = "digits"
limit = 120
[quantize]
schemes = "int8"
qat = true
method = "minmax"
samples = 32
[qat]
task = "imitate"
epochs = 3
batch_size = 16
lr = 1e-3
threads = 1
shift_px = 1
keep = "last"
"""

DRIVER = """
# Forks for each run, because importing takes longer than running.
import json, os, signal, sys
from pathlib import Path

import onnxruntime, sklearn.datasets, torch
from edgekit.pipeline import runner
from edgekit.pipeline.project import load_project
from edgekit.training.checkpoint import Checkpoint

project = load_project(Path(sys.argv[1]))
work = Path(sys.argv[2])
save = Checkpoint.save

def forked(place, die_after):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    epochs = []

    def watched(self, state):
        save(self, state)
        epochs.append(state["curve"][-1]["epoch"])
        if len(epochs) == die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    Checkpoint.save = watched
    given = project.model_copy(update={"store": place / "store", "output": place / "out"})
    result = runner.run_project(given)
    (qat,) = [step for step in result.steps if step.id == "qat"]
    said = {"epochs": epochs, "metrics": qat.metrics, "said": result.describe()}
    (place / "result.json").write_text(json.dumps(said))
    os._exit(0)

def answer(place):
    return json.loads((place / "result.json").read_text())

calm, killed = work / "calm", work / "killed"
calm.mkdir()
killed.mkdir()
codes = [forked(calm, 0), forked(killed, 1)]
left = [str(path.relative_to(killed)) for path in (killed / "store" / "checkpoints").rglob("*.pt")]
codes.append(forked(killed, 0))
print(json.dumps({"codes": codes, "calm": answer(calm), "killed": answer(killed), "left": left}))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("qat")


@pytest.fixture(scope="module")
def answer(work: Path) -> Any:
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (4, 1, 3, 3), "w2": (6, 4, 2, 2), "w3": (10, 96),
    }  # fmt: skip
    save_onnx(make_model(NET, weights(shapes)), work / "net.onnx")
    (work / "edgekit.toml").write_text(PROJECT)
    (work / "driver.py").write_text(DRIVER)
    done = subprocess.run(
        [sys.executable, str(work / "driver.py"), str(work / "edgekit.toml"), str(work)],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_it_goes_on_with_the_next_epoch(answer: Any) -> None:
    assert answer["codes"] == [0, -9, 0]
    assert len(answer["left"]) == 1
    assert answer["calm"]["epochs"] == [1, 2, 3]
    assert answer["killed"]["epochs"] == [2, 3]
    assert "reused" in answer["killed"]["said"]


def test_the_result_is_the_same_to_the_byte(answer: Any, work: Path) -> None:
    calm, killed = work / "calm" / "out", work / "killed" / "out"
    name = "net.qdq.onnx"
    assert (calm / name).read_bytes() == (killed / name).read_bytes()
    assert answer["calm"]["metrics"] == answer["killed"]["metrics"]
    assert answer["calm"]["metrics"]["qat"]["best_epoch"] == 3


def test_nothing_is_left_to_go_on_from(answer: Any, work: Path) -> None:
    for place in ("calm", "killed"):
        assert list((work / place / "store" / "checkpoints").iterdir()) == []
