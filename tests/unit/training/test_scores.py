"""Scores and labels that do not go together are one clear error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import InputError
from edgekit.training.config import TrainConfig
from edgekit.training.samples import TensorSamples, resident
from edgekit.training.scores import accuracy, checked_scores, count_hits, require_classes
from edgekit.training.trainer import train
from tests.unit.training.test_trainer import network, stripes

OPTIONS = TrainConfig(epochs=2, batch_size=16, threads=1, device="cpu")


def test_accuracy_counts_what_is_right() -> None:
    inputs = torch.eye(4)[torch.tensor([0, 1, 2, 3, 3])]
    samples = TensorSamples(inputs, torch.tensor([0, 1, 2, 3, 0]))
    assert accuracy(nn.Identity(), samples, range(5)) == 0.8
    assert int(count_hits(inputs, samples.labels)) == 4


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "The model has 3 classes, but the data set has class 3"),
        ([0, -1], r"samples without a label \(class -1\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_scores(torch.zeros(2, 3), 2, torch.tensor(labels))


@pytest.mark.parametrize("label", [-1, 3])
def test_training_with_such_labels_is_refused(label: int) -> None:
    samples = stripes()
    samples.labels[5] = label
    with pytest.raises(InputError, match=r"without a label|has class 3"):
        train(network(), samples, OPTIONS.model_copy(update={"validation": 0}), 0)


@dataclass(frozen=True)
class Streamed:
    """Samples whose labels are seen only batch by batch."""

    held: TensorSamples

    def __len__(self) -> int:
        return len(self.held)

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        return self.held.batches(order, batch_size)


@pytest.mark.parametrize("streamed", [False, True])
def test_one_class_alone_is_refused(streamed: bool) -> None:
    held = TensorSamples(stripes().inputs, torch.full((160,), 2))
    samples = Streamed(held) if streamed else held
    with pytest.raises(InputError, match=r"All training samples are of class 2; .* data\.limit"):
        train(network(), samples, OPTIONS, 0)
    require_classes(torch.tensor([1, 1, 0]))


@pytest.mark.parametrize("count", [0, 1])
def test_no_samples_are_refused(count: int) -> None:
    samples = TensorSamples(torch.zeros(count, 1, 8, 8), torch.zeros(count, dtype=torch.int64))
    with pytest.raises(InputError, match=f"{count} samples are too few to train with"):
        train(network(), samples, OPTIONS, 0)


def test_samples_move_to_a_device_where_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, cpu = stripes(20), torch.device("cpu")
    assert resident(samples, cpu) is samples
    sizes: list[int] = []

    def fits(size_bytes: int, device: torch.device) -> bool:
        sizes.append(size_bytes)
        return True

    monkeypatch.setattr("edgekit.training.samples.fits", fits)
    there = resident(samples, cpu)
    assert sizes == [20 * 64 * 4]
    for (one, first), (two, second) in zip(
        samples.batches([3, 1, 19], 2), there.batches([3, 1, 19], 2), strict=True
    ):
        assert torch.equal(one, two)
        assert torch.equal(first, second)
    streamed = Streamed(samples)
    assert resident(streamed, cpu) is streamed
