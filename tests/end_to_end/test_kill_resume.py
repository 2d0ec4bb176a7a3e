"""A run killed by SIGKILL at any step goes on and ends with the same bytes."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MODEL = """
from torch import nn

def create():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 10),
    )
"""

PROJECT = """
name = "tiny"
seed = 3
stages = ["train"]
[model]
source = "model.py:create"
inputs = ["image:1x1x8x8"]
preprocessing = {{ channels = "gray", scale = 0.0625 }}
[data]
set = "digits"
limit = 160
[train]
epochs = 2
batch_size = 32
threads = 1
shift_px = 1
[targets.onnxruntime]
{tflite}
[benchmark]
runs = 3
warmup_runs = 1
memory = false
"""

TFLITE = """
[targets.tflite]
precision = ["float32", "float16"]
"""

DRIVER = """
# Imports everything once and forks for each run, because importing takes longer than running.
import json, os, signal, sys
from pathlib import Path

import onnxruntime, onnxscript, safetensors.torch, sklearn.datasets, torch, torch.onnx
import edgekit.graph.importers.torch_export, edgekit.training.trainer

from edgekit.core.progress import SilentProgress
from edgekit.pipeline import publish, runner
from edgekit.pipeline.plan import build_plan
from edgekit.pipeline.project import load_project
from edgekit.store import store
from edgekit.training.checkpoint import Checkpoint
from edgekit.training.step_figures import StepFigures

project = load_project(Path(sys.argv[1]))

def die(*ignored):
    os.kill(os.getpid(), signal.SIGKILL)

def arm(step_id, moment):
    do, check, write = runner._Run.do, runner._check_result, store.write_bytes
    copytree, rename = publish.copy_into_place, Path.rename
    look, save = StepFigures.look, Checkpoint.save
    here = []

    def watched_look(self):
        # In the middle of an epoch.
        if moment == "training" and len(self.losses) == 2:
            die()
        return look(self)

    def watched_save(self, state):
        # Half of a state lies beside its place, or it is whole.
        if moment == "saving":
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".edgekit-tmp-half").write_bytes(b"half")
            die()
        save(self, state)
        if moment == "saved":
            die()

    def watched_do(self, step):
        here[:] = [step.id]
        return do(self, step)

    def watched_check(step, result):
        # The stage has written its files, and nothing is in the store yet.
        return die() if (step.id, "working") == (step_id, moment) else check(step, result)

    def watched_write(path, data):
        # The artifacts are in the store, and the record is not.
        if here == [step_id] and moment == "committing":
            path.with_name(".edgekit-tmp-half").write_bytes(data[: len(data) // 2])
            die()
        write(path, data)
        if here == [step_id] and moment == "committed":
            die()

    def watched_rename(self, target):
        # The copy beside the output is complete, and not in place yet.
        if moment == "publishing" and Path(target).name == step_id:
            die()
        return rename(self, target)

    runner._Run.do, runner._check_result = watched_do, watched_check
    store.write_bytes, Path.rename = watched_write, watched_rename
    StepFigures.look, Checkpoint.save = watched_look, watched_save

class Labels(SilentProgress):
    def __init__(self, path):
        self.path = path

    def start(self, label, total):
        with self.path.open("a") as file:
            file.write(label + chr(10))

def forked(place, *kill):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    given = project.model_copy(update={"store": place / "store", "output": place / "out"})
    if kill:
        arm(*kill)
    result = runner.run_project(given, Labels(place / "labels.txt"))
    steps = {
        step.id: {
            "reused": step.reused,
            "outputs": {slot: item.digest for slot, item in step.artifacts.items()},
        }
        for step in result.steps
    }
    said = {"said": result.describe(), "steps": steps, "written": [p.name for p in result.written]}
    (place / "result.json").write_text(json.dumps(said))
    os._exit(0)

work = Path(sys.argv[2])
(work / "calm").mkdir()
(work / "killed").mkdir()
plan = build_plan(project)
kills = [[step.id, "working"] for step in plan.steps]
kills += [["lower-onnxruntime-float32", "committing"], ["lower-onnxruntime-float32", "committed"]]
kills += [["report", "committing"], ["report", "committed"]]
order = [step.id for step in plan.steps]
kills += [["train", "training"], ["train", "saving"], ["train", "saved"]]
moments = ["training", "saving", "saved", "working", "committing", "committed"]
kills.sort(key=lambda kill: (order.index(kill[0]), moments.index(kill[1])))
kills += [["tiny.onnx", "publishing"], ["report", "publishing"]]

def records():
    return len(list((work / "killed" / "store" / "runs").glob("*.json")))

answer = {
    "order": order,
    "calm": forked(work / "calm"),
    "killed": [[*kill, forked(work / "killed", *kill), records()] for kill in kills],
    "resumed": forked(work / "killed"),
}
answer["first"] = json.loads((work / "calm" / "result.json").read_text())
answer["second"] = json.loads((work / "killed" / "result.json").read_text())
answer["again"] = forked(work / "killed")
answer["third"] = json.loads((work / "killed" / "result.json").read_text())
print(json.dumps(answer))
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kill")


@pytest.fixture(scope="module")
def answer(work: Path) -> dict[str, Any]:
    """Runs the project undisturbed in one place, and killed at every step in another."""
    tflite = TFLITE if importlib.util.find_spec("ai_edge_litert") else ""
    (work / "model.py").write_text(MODEL)
    (work / "edgekit.toml").write_text(PROJECT.format(tflite=tflite))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(work / "edgekit.toml"), str(work)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_every_kill_hit_and_the_last_run_ended_well(answer: dict[str, Any]) -> None:
    assert answer["calm"] == answer["resumed"] == answer["again"] == 0
    assert len(answer["killed"]) >= 12
    for step, moment, code, _ in answer["killed"]:
        assert code == -9, (step, moment)


def test_a_killed_training_goes_on_after_its_last_whole_epoch(
    answer: dict[str, Any], work: Path
) -> None:
    """Killed in an epoch, while its state is written, and after that; then it goes on."""
    moments = [moment for step, moment, *_ in answer["killed"] if step == "train"]
    assert moments[:4] == ["training", "saving", "saved", "working"]
    labels = (work / "killed" / "labels.txt").read_text().splitlines()
    epochs = [label for label in labels if label.startswith("epoch")]
    assert epochs[:4] == ["epoch 1/2", "epoch 1/2", "epoch 1/2", "epoch 2/2"]
    calm = (work / "calm" / "labels.txt").read_text().splitlines()
    assert [label for label in calm if label.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]


def test_steps_that_were_finished_before_a_kill_are_kept(answer: dict[str, Any]) -> None:
    order = answer["order"]
    for step, moment, _, records in answer["killed"]:
        if moment == "publishing":
            assert records == len(order)
        else:
            assert records == order.index(step) + (moment == "committed"), (step, moment)


def test_artifacts_are_byte_identical_to_the_undisturbed_run(
    answer: dict[str, Any], work: Path
) -> None:
    calm, killed = work / "calm" / "out", work / "killed" / "out"
    names = sorted(path.name for path in calm.iterdir())
    assert names == sorted(path.name for path in killed.iterdir())
    assert {"tiny.onnx", "tiny.safetensors", "report"} <= set(names)
    for name in names:
        if name != "report":
            assert (calm / name).read_bytes() == (killed / name).read_bytes(), name
    assert sorted(path.name for path in (killed / "report").iterdir()) == [
        "report.html", "report.json", "report.md",
    ]  # fmt: skip


def test_every_result_but_measured_times_is_identical(answer: dict[str, Any]) -> None:
    measured = ("benchmark-", "summarize", "report")
    first, second = answer["first"]["steps"], answer["second"]["steps"]
    assert list(first) == list(second)
    compared = [step for step in first if not step.startswith(measured)]
    assert len(compared) >= 5
    for step in compared:
        assert first[step]["outputs"] == second[step]["outputs"], step


def test_run_killed_while_copying_only_copies(answer: dict[str, Any]) -> None:
    assert all(step["reused"] for step in answer["second"]["steps"].values())
    assert "report" in answer["second"]["written"]


def test_second_run_of_the_unchanged_project_does_nothing_and_says_so(
    answer: dict[str, Any],
) -> None:
    assert answer["third"]["said"].startswith("Nothing to do: all ")
    assert answer["third"]["written"] == []


def test_nothing_half_done_is_left(answer: dict[str, Any], work: Path) -> None:
    store = work / "killed" / "store"
    assert list((store / "scratch").iterdir()) == []
    assert list((store / "locks").iterdir()) == []
    assert list(work.rglob(".edgekit-tmp-*")) == []
    named = {
        output["digest"]
        for record in (store / "runs").glob("*.json")
        for output in json.loads(record.read_text())["outputs"].values()
    }
    kept = {path.name.partition(".")[0] for path in (store / "objects").glob("*/*")}
    assert kept == named
