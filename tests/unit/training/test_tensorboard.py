"""What TensorBoard reads is what the training measured, also after an interruption."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.core.progress import SilentProgress
from edgekit.core.run_summary import EpochPoint
from edgekit.errors import InputError, MissingToolError
from edgekit.training.config import TrainConfig
from edgekit.training.distillation import DistillOptions
from edgekit.training.tensorboard import open_metrics
from edgekit.training.trainer import train
from tests.unit.training.test_trainer import network, stripes

pytest.importorskip("tensorboard")


def options(folder: Path | None, **fields: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {"epochs": 3, "batch_size": 48, "threads": 1, "device": "cpu", "tensorboard": folder}
        | fields
    )


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All scalars by tag, as TensorBoard itself reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(item.step, item.value) for item in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def column(curve: tuple[EpochPoint, ...], name: str) -> list[tuple[int, Any]]:
    return [(3 * point.epoch, pytest.approx(getattr(point, name), rel=1e-6)) for point in curve]


def test_scalars_are_those_of_the_curve(tmp_path: Path) -> None:
    curve = train(network(), stripes(), options(tmp_path / "board"), 3).curve
    found = read(tmp_path / "board")
    assert found["loss/train"] == column(curve, "loss")
    assert found["loss/kept_back"] == column(curve, "val_loss")
    assert found["accuracy/train"] == column(curve, "train_accuracy")
    assert found["accuracy/kept_back"] == column(curve, "val_accuracy")
    assert found["learning_rate"] == column(curve, "lr")
    assert found["epoch"] == [(3, 1), (6, 2), (9, 3)]
    steps = found["loss/step"]
    assert [step for step, _ in steps] == list(range(1, 10))
    first = sum(loss for _, loss in steps[:3]) / 3
    assert first == pytest.approx(curve[0].loss, rel=1e-6)


class Stopped(SilentProgress):
    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def start(self, label: str, total: int | None) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_training_goes_on_in_the_same_curves(tmp_path: Path) -> None:
    board, state = tmp_path / "board", tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        train(network(), stripes(), options(board), 3, Stopped(2), state)
    # Events of a step that was done, but whose epoch was not kept.
    metrics = open_metrics(board)
    metrics.begin(6)
    metrics.write(EpochPoint(epoch=9, loss=9, train_accuracy=9, val_accuracy=9, lr=9), [9.0])
    metrics.close()
    curve = train(network(), stripes(), options(board), 3, folder=state).curve
    found = read(board)
    assert found["epoch"] == [(3, 1), (6, 2), (9, 3)]
    assert found["loss/train"] == column(curve, "loss")
    assert [step for step, _ in found["loss/step"]] == list(range(1, 10))


def test_where_metrics_go_is_no_part_of_the_result(tmp_path: Path) -> None:
    watched, plain = options(tmp_path), options(None)
    assert watched.model_dump() == plain.model_dump()
    fields = {"alpha": 0.3, "tensorboard": tmp_path}
    assert DistillOptions.model_validate(fields).train_config().tensorboard == tmp_path
    train(network(), stripes(), plain, 3)
    assert list(tmp_path.iterdir()) == []


def test_without_the_package_it_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    message = r"tensorboard is not installed, .* pip install 'edgekit\[train\]'"
    with pytest.raises(MissingToolError, match=message):
        train(network(), stripes(), options(tmp_path), 3)


def test_a_folder_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"train\.tensorboard: nothing can be written to .*file"):
        train(network(), stripes(), options(tmp_path / "file" / "board"), 3)
