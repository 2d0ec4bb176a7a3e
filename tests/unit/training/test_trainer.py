"""Training learns, gives the same weights twice, and says when it cannot go on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import GateError, InputError
from edgekit.training.config import TrainConfig
from edgekit.training.samples import TensorSamples
from edgekit.training.trainer import accuracy, train


def stripes(count: int = 160) -> TensorSamples:
    """Noisy 8x8 images: class 0 has horizontal stripes, 1 vertical ones, 2 none."""
    generator = torch.Generator().manual_seed(1)
    images = 0.3 * torch.randn(count, 1, 8, 8, generator=generator)
    labels = torch.arange(count) % 3
    images[labels == 0, :, ::2, :] += 1.0
    images[labels == 1, :, :, ::2] += 1.0
    return TensorSamples(images, labels)


def network(classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(32, classes),
        )


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: item.clone() for name, item in model.state_dict().items()}


CONFIG = TrainConfig(
    epochs=4, batch_size=16, lr=2e-2, shift_px=1, flip=True, warmup_epochs=0, threads=1
)


def test_it_learns_and_tells_its_curve() -> None:
    model, samples = network(), stripes()
    curve = train(model, samples, CONFIG, seed=3).curve
    assert [point.epoch for point in curve] == [1, 2, 3, 4]
    assert curve[-1].loss < curve[0].loss / 2
    assert curve[-1].val_accuracy is not None
    assert curve[-1].val_accuracy > 0.95
    assert (curve[-1].train_accuracy or 0) > 0.9
    assert accuracy(model, samples, range(len(samples))) > 0.95
    assert 0 < curve[-1].lr < curve[0].lr <= CONFIG.lr
    assert not model.training


def test_same_seed_gives_the_same_bits_whatever_the_process_did_before() -> None:
    samples, config = stripes(), CONFIG.model_copy(update={"epochs": 2, "threads": 2})
    first, second = network(), network()
    curve = train(first, samples, config, seed=3).curve
    torch.manual_seed(99)
    torch.set_num_threads(1)
    torch.rand(7)
    assert train(second, samples, config, seed=3).curve == curve
    expected = weights(first)
    for name, item in weights(second).items():
        assert torch.equal(item, expected[name]), name


def test_another_seed_gives_other_weights() -> None:
    samples, config = stripes(48), CONFIG.model_copy(update={"epochs": 1})
    first, second = network(), network()
    train(first, samples, config, seed=3)
    train(second, samples, config, seed=4)
    assert not torch.equal(weights(first)["0.weight"], weights(second)["0.weight"])


def test_the_process_is_left_as_it_was() -> None:
    torch.set_num_threads(2)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    train(network(), stripes(48), CONFIG, seed=3)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()


def test_sgd_without_validation_learns() -> None:
    config = TrainConfig(
        epochs=4,
        batch_size=16,
        optimizer="sgd",
        lr=0.1,
        validation=0,
        label_smoothing=0.1,
        threads=1,
    )
    model, samples = network(), stripes()
    curve = train(model, samples, config, seed=0).curve
    assert curve[-1].val_accuracy is None
    assert accuracy(model, samples, range(len(samples))) > 0.95


def test_kept_back_samples_are_not_trained_with() -> None:
    """With labels that are pure noise, what is kept back stays at chance."""
    samples = stripes(200)
    generator = torch.Generator().manual_seed(0)
    noise = TensorSamples(samples.inputs, torch.randint(3, (200,), generator=generator))
    config = TrainConfig(
        epochs=20, batch_size=25, lr=1e-2, validation=0.5, weight_decay=0, threads=1
    )
    wide = nn.Sequential(nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 3))
    curve = train(wide, noise, config, seed=0).curve
    assert (curve[-1].train_accuracy or 0) > 0.95
    assert curve[-1].val_accuracy is not None
    assert curve[-1].val_accuracy < 0.5


def test_diverging_loss_stops_and_names_epoch_and_step() -> None:
    samples = stripes()
    samples.inputs[100] = float("nan")
    config = TrainConfig(epochs=2, batch_size=16, validation=0, threads=1)
    with pytest.raises(GateError, match=r"loss is nan in epoch 1, step \d+ .*Lower train\.lr"):
        train(network(), samples, config, seed=0)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (network(2), "The model has 2 classes, but the data set has class 2"),
        (nn.Identity(), r"one tensor \[N, classes\].*shape \[16, 1, 8, 8\]"),
        (Pair(), r"one tensor \[N, classes\].*gives a tuple"),
    ],
    ids=["too few classes", "no scores", "two outputs"],
)
def test_model_that_is_no_classifier_of_the_data_is_refused(
    model: nn.Module, message: str
) -> None:
    with_parameter = nn.Sequential(nn.Conv2d(1, 1, 1), model)
    with pytest.raises(InputError, match=message):
        train(with_parameter, stripes(), TrainConfig(batch_size=16), seed=0)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(InputError, match=r"2 samples are too few .* keeps back 1"):
        train(network(), stripes(2), TrainConfig(validation=0.5), seed=0)


def test_fewer_samples_than_a_batch_are_one_batch() -> None:
    curve = train(network(), stripes(9), TrainConfig(epochs=1, batch_size=64), seed=0).curve
    assert len(curve) == 1


class Watching:
    def __init__(self) -> None:
        self.started: list[tuple[str, int | None]] = []
        self.notes: list[str] = []
        self.finished = 0

    def start(self, label: str, total: int | None) -> None:
        self.started.append((label, total))

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.notes.append(note)

    def finish(self) -> None:
        self.finished += 1


def test_progress_counts_steps_and_shows_the_loss() -> None:
    watching = Watching()
    config = TrainConfig(epochs=2, batch_size=16, validation=0, threads=1)
    train(network(), stripes(80), config, seed=0, progress=watching)
    assert watching.started == [("epoch 1/2", 5), ("epoch 2/2", 5)]
    assert watching.finished == 2
    assert len(watching.notes) == 10
    assert all(note.startswith("loss ") for note in watching.notes)
