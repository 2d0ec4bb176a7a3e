"""Training on episodes learns, repeats itself, and stops where it diverges."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgekit.errors import GateError, InputError
from edgekit.training.few_shot import matching, prototypes
from edgekit.training.few_shot.episodes import Episode, EpisodeSampler, EpisodeShape
from edgekit.training.few_shot.maml import Maml
from edgekit.training.few_shot.training import (
    EpisodeLoss,
    EpisodeTrainConfig,
    train_on_episodes,
)

SHAPE = EpisodeShape(ways=3, shots=1, queries=4)
CONFIG = EpisodeTrainConfig(episode=SHAPE, steps=60, lr=2e-2)


def clusters(first_class: int = 0, classes: int = 12) -> tuple[Tensor, Tensor]:
    """Two of ten features tell the classes; the others are louder noise."""
    generator = torch.Generator().manual_seed(first_class)
    labels = torch.arange(classes).repeat_interleave(8)
    centres = 2 * torch.randn(classes, 2, generator=generator)
    inputs = 2 * torch.randn(len(labels), 10, generator=generator)
    inputs[:, :2] = centres[labels] + 0.2 * torch.randn(len(labels), 2, generator=generator)
    return inputs, labels


def network(outputs: int = 8) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(10, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.05),
            nn.Linear(32, outputs),
        )  # fmt: skip


def accuracy(method: EpisodeLoss, model: nn.Module, episodes: int = 60) -> float:
    """Accuracy on classes that were not trained with; ``method`` gives predictions."""
    inputs, labels = clusters(first_class=100)
    sampler = EpisodeSampler(labels.numpy(), SHAPE, 9)
    hits = []
    for number in range(episodes):
        episode = sampler.positions(number).gather(inputs)
        hits.append((method(model, episode) == episode.query_labels).float().mean())
    return float(torch.stack(hits).mean())


@pytest.mark.parametrize(
    ("loss", "predict"),
    [(prototypes.loss, prototypes.predict), (matching.loss, matching.predict)],
    ids=["prototypes", "matching"],
)
def test_a_metric_is_learnt_that_holds_for_new_classes(
    loss: EpisodeLoss, predict: EpisodeLoss
) -> None:
    model = network()
    inputs, labels = clusters()
    raw = accuracy(predict, nn.Identity())
    losses = train_on_episodes(model, loss, inputs, labels.numpy(), CONFIG, seed=3)
    assert len(losses) == 60
    assert sum(losses[-10:]) < sum(losses[:10])
    assert not model.training
    assert accuracy(predict, model) > raw + 0.1


def test_maml_learns_to_adapt() -> None:
    model, maml = network(outputs=3), Maml(inner_steps=2, inner_lr=0.3)
    inputs, labels = clusters()
    config = CONFIG.model_copy(update={"episodes_per_step": 4, "lr": 1e-2})
    untrained = accuracy(maml.predict, copy.deepcopy(model).train())
    losses = train_on_episodes(model, maml.loss, inputs, labels.numpy(), config, seed=3)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])
    assert accuracy(maml.predict, model.train()) > untrained + 0.05


def test_same_seed_gives_the_same_bits() -> None:
    inputs, labels = clusters()
    config = CONFIG.model_copy(update={"steps": 8})
    first, second, third = network(), network(), network()
    losses = train_on_episodes(first, prototypes.loss, inputs, labels.numpy(), config, seed=3)
    torch.manual_seed(1)
    torch.rand(3)
    again = train_on_episodes(second, prototypes.loss, inputs, labels.numpy(), config, seed=3)
    train_on_episodes(third, prototypes.loss, inputs, labels.numpy(), config, seed=4)
    assert losses == again
    for name, item in first.state_dict().items():
        assert torch.equal(item, second.state_dict()[name]), name
    assert not torch.equal(first.state_dict()["0.weight"], third.state_dict()["0.weight"])


def test_episodes_of_a_step_are_averaged() -> None:
    inputs, labels = clusters()
    model = nn.Linear(10, 4)
    before = copy.deepcopy(model)
    config = EpisodeTrainConfig(episode=SHAPE, steps=1, episodes_per_step=3)
    (loss,) = train_on_episodes(model, prototypes.loss, inputs, labels.numpy(), config, seed=5)
    sampler = EpisodeSampler(labels.numpy(), SHAPE, 5)
    parts = [
        float(prototypes.loss(before, sampler.positions(n).gather(inputs)).detach())
        for n in range(3)
    ]
    assert loss == pytest.approx(sum(parts) / 3, rel=1e-5)


class Failing:
    """A loss that turns to NaN, or only its gradient, in one call."""

    def __init__(self, call: int, *, gradient: bool) -> None:
        self.calls = 0
        self.states: list[dict[str, Tensor]] = []
        self._call = call
        self._gradient = gradient

    def __call__(self, model: nn.Module, episode: Episode) -> Tensor:
        self.states.append({name: item.clone() for name, item in model.state_dict().items()})
        self.calls += 1
        loss = prototypes.loss(model, episode)
        if self.calls != self._call:
            return loss
        if self._gradient:
            # Its value is 0; its slope at 0 is infinite.
            (weight, *_) = model.parameters()
            return loss + (weight.sum() - weight.sum().detach()).abs().sqrt()
        return loss * float("nan")


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_nan_stops_with_the_last_good_state(gradient: bool) -> None:
    model, failing = network(), Failing(5, gradient=gradient)
    inputs, labels = clusters()
    with pytest.raises(
        GateError, match=r"diverged: .* is nan in step 5; .* its state before step 4\. Lower lr"
    ):
        train_on_episodes(model, failing, inputs, labels.numpy(), CONFIG, seed=3)
    assert failing.calls == 5
    assert not model.training
    for name, item in model.state_dict().items():
        assert torch.equal(item, failing.states[3][name]), name


def test_nan_in_the_first_step_leaves_the_model_as_it_was() -> None:
    model = network()
    inputs, labels = clusters()
    with pytest.raises(GateError, match="nan in step 1"):
        train_on_episodes(model, prototypes.loss, inputs * torch.nan, labels.numpy(), CONFIG, 0)
    for name, item in network().state_dict().items():
        assert torch.equal(item, model.state_dict()[name]), name


class Watching:
    def __init__(self) -> None:
        self.events: list[object] = []

    def start(self, label: str, total: int | None) -> None:
        self.events.append((label, total))

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.events.append(note.split()[0])

    def finish(self) -> None:
        self.events.append("finished")


def test_progress_is_shown() -> None:
    watching = Watching()
    inputs, labels = clusters()
    config = CONFIG.model_copy(update={"steps": 2})
    train_on_episodes(network(), prototypes.loss, inputs, labels.numpy(), config, 0, watching)
    assert watching.events == [("episodes", 2), "loss", "loss", "finished"]


def test_labels_of_another_set_are_refused() -> None:
    inputs, labels = clusters()
    with pytest.raises(InputError, match="95 examples do not go with 96 labels"):
        train_on_episodes(network(), prototypes.loss, inputs[1:], labels.numpy(), CONFIG, 0)
