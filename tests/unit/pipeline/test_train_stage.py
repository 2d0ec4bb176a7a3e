"""The training stage turns a module and a data set into weights, the same each time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgekit.core.artifact import ArtifactKind
from edgekit.core.metadata import Preprocessing
from edgekit.core.run_summary import TrainingSummary
from edgekit.core.signature import TensorSpec
from edgekit.core.stage import StageContext, StageResult
from edgekit.data.datasets import DataSpec, open_dataset
from edgekit.errors import GateError, InputError
from edgekit.graph.importers.torch_module import build_module
from edgekit.graph.importers.weights import load_weights
from edgekit.pipeline.runner import Runner
from edgekit.pipeline.steps import Step, make_plan
from edgekit.stages import train as train_module
from edgekit.stages.train import TrainStage, TrainStageConfig
from edgekit.store.store import Store
from edgekit.training.config import TrainConfig

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.head = nn.Linear(64, 10)
        self.alias = self.head.weight

    def forward(self, image):
        return self.head(self.norm(image).flatten(1))
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "model.py").write_text(MODEL)
    return f"{tmp_path / 'model.py'}:Net"


def config(source: str, **changes: Any) -> TrainStageConfig:
    fields: dict[str, Any] = {
        "source": source,
        "input": TensorSpec(name="image", shape=("batch", 1, 8, 8)),
        "preprocessing": Preprocessing(channels="gray", scale=1 / 16),
        "data": DataSpec(set="digits", split="train", limit=300),
        "options": TrainConfig(epochs=8, batch_size=32, lr=0.05, threads=1),
    }
    return TrainStageConfig.model_validate(fields | changes)


def run(folder: Path, given: TrainStageConfig, seed: int = 0) -> StageResult:
    folder.mkdir()
    return TrainStage().run(StageContext(workdir=folder, seed=seed), {}, given)


def predictions(source: str, weights: Path) -> tuple[Any, Any]:
    """Predicted and true classes of the test images."""
    module = build_module(source)
    load_weights(module, weights)
    module.eval()
    dataset = open_dataset(DataSpec(set="digits", split="test"))
    spec = TensorSpec(name="image", shape=("batch", 1, 8, 8))
    pixels = Preprocessing(channels="gray", scale=1 / 16)
    (batch,) = dataset.batches(pixels, spec, len(dataset))
    with torch.inference_mode():
        return module(torch.from_numpy(batch.inputs)).argmax(1).numpy(), batch.labels


def test_weights_work_and_the_curve_is_told(tmp_path: Path, source: str) -> None:
    result = run(tmp_path / "a", config(source))
    weights, curve = result.artifacts["weights"], result.artifacts["curve"]
    assert weights.kind is ArtifactKind.WEIGHTS
    summary = TrainingSummary.model_validate_json(curve.path.read_bytes())
    assert summary.dataset == "digits/train"
    assert [point.epoch for point in summary.curve] == list(range(1, 9))
    assert summary.parameters == 64 * 10 + 10 + 2
    predicted, labels = predictions(source, weights.path)
    assert np.mean(predicted == labels) > 0.85
    assert result.metrics["training"]["epoch"] == 8


def test_two_runs_give_the_same_bytes_and_another_seed_gives_others(
    tmp_path: Path, source: str
) -> None:
    first = run(tmp_path / "a", config(source))
    second = run(tmp_path / "b", config(source))
    other = run(tmp_path / "c", config(source), seed=1)
    for slot in ("weights", "curve"):
        assert first.artifacts[slot].digest == second.artifacts[slot].digest
        assert first.artifacts[slot].digest != other.artifacts[slot].digest


def test_data_too_large_for_memory_is_streamed_with_the_same_result(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(tmp_path / "a", config(source))
    monkeypatch.setattr(train_module, "_IN_MEMORY_BYTES", 100)
    second = run(tmp_path / "b", config(source))
    assert first.artifacts["weights"].digest == second.artifacts["weights"].digest


def test_classes_follow_the_labels_that_the_model_declares(tmp_path: Path, source: str) -> None:
    names = open_dataset(DataSpec(set="digits", split="train")).labels
    result = run(tmp_path / "a", config(source, labels=tuple(reversed(names))))
    predicted, labels = predictions(source, result.artifacts["weights"].path)
    assert np.mean(predicted == 9 - labels) > 0.85


def test_labels_that_are_not_those_of_the_data_are_warned_of(tmp_path: Path, source: str) -> None:
    labels = tuple("abcdefghij")
    options = TrainConfig(epochs=1, threads=1)
    result = run(tmp_path / "a", config(source, labels=labels, options=options))
    assert result.notes[0].level == "warning"
    assert "not among the model's labels" in result.notes[0].text


def test_training_goes_on_from_given_weights(tmp_path: Path, source: str) -> None:
    first = run(tmp_path / "a", config(source)).artifacts["weights"].path
    frozen = TrainConfig(epochs=1, lr=1e-12, weight_decay=0, threads=1)
    second = run(tmp_path / "b", config(source, weights=first, options=frozen))
    before, after = load_file(first), load_file(second.artifacts["weights"].path)
    torch.testing.assert_close(after["head.weight"], before["head.weight"])


def test_files_that_decide_the_result_are_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "model.py").write_text("import parts\n" + MODEL)
    (tmp_path / "parts.py").write_text("")
    (tmp_path / "start.safetensors").touch()
    data = tmp_path / "data.npz"
    np.savez(data, images=np.zeros((4, 8, 8), np.uint8), labels=np.zeros(4, np.int64))
    given = config(
        source,
        weights=tmp_path / "start.safetensors",
        data=DataSpec(set=f"npz:{data}", split="train"),
    )
    assert [path.name for path in TrainStage().external_files(given)] == [
        "model.py", "parts.py", "start.safetensors", "data.npz",
    ]  # fmt: skip


def test_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"No Python file at .*absent\.py"):
        TrainStage().external_files(config(f"{tmp_path / 'absent.py'}:Net"))


def test_diverging_training_leaves_no_weights(tmp_path: Path, source: str) -> None:
    options = TrainConfig(
        epochs=3, optimizer="sgd", lr=1e30, warmup_epochs=0, clip_norm=None, threads=1
    )
    with pytest.raises(GateError, match=r"Training diverged: the loss is (nan|inf) in epoch 1"):
        run(tmp_path / "a", config(source, options=options))
    assert list((tmp_path / "a").iterdir()) == []


def npz(folder: Path, count: int, classes: int = 10) -> DataSpec:
    path = folder / f"data-{count}-{classes}.npz"
    names = np.array([f"class {index}" for index in range(10)])
    images = np.random.default_rng(0).random((count, 1, 8, 8), np.float32)
    np.savez(path, x=images, y=np.arange(count) % classes, classes=names)
    return DataSpec(set=f"npz:{path}", split="train")


@pytest.mark.parametrize(
    ("count", "classes", "message"),
    [
        (0, 1, "is empty: it holds no samples"),
        (40, 1, "All training samples are of class 0; a classifier needs at least two"),
    ],
    ids=["empty", "one class"],
)
def test_data_that_teaches_nothing_is_one_error(
    count: int, classes: int, message: str, tmp_path: Path, source: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path / "a", config(source, data=npz(tmp_path, count, classes)))


def test_missing_data_is_one_error(tmp_path: Path, source: str) -> None:
    data = DataSpec(set=f"npz:{tmp_path / 'absent.npz'}", split="train")
    with pytest.raises(InputError, match=r"absent\.npz"):
        TrainStage().external_files(config(source, data=data))


def test_a_batch_larger_than_the_data_is_one_step(tmp_path: Path, source: str) -> None:
    options = TrainConfig(epochs=2, batch_size=4096, threads=1)
    given = config(source, data=npz(tmp_path, 40), options=options)
    result = run(tmp_path / "a", given)
    assert result.metrics["training"]["epoch"] == 2


TIRED = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, image):
        self.steps += self.training
        scores = self.head(image.flatten(1))
        return scores * float("nan") if self.steps > 20 else scores
"""


def test_a_run_that_diverges_keeps_its_last_good_weights(tmp_path: Path) -> None:
    """300 samples, 30 of them kept back, make 8 steps of 32; the 21st gives NaN."""
    (tmp_path / "model.py").write_text(TIRED)
    source = f"{tmp_path / 'model.py'}:Net"
    plan = make_plan([Step("train", TrainStage(), config(source))])
    message = (
        r"loss is nan in epoch 3, step 5 .* The weights after epoch 2 are kept in "
        r"(\S+\.safetensors)\.$"
    )
    with pytest.raises(GateError, match=message) as raised:
        Runner(Store(tmp_path / "store")).run(plan)
    found = re.search(message, str(raised.value))
    assert found is not None
    module = build_module(source)
    load_weights(module, Path(found.group(1)))
    assert module.get_buffer("steps") == 16
    # Again it says the same, from where it stopped.
    with pytest.raises(GateError) as again:
        Runner(Store(tmp_path / "store")).run(plan)
    assert str(again.value) == str(raised.value)
