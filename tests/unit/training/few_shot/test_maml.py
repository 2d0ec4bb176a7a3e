"""MAML against closed forms and a loop written out with torch's own optimizer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import InputError
from edgekit.training.few_shot.episodes import Episode
from edgekit.training.few_shot.maml import Maml
from tests.unit.training.few_shot.tasks import random_task


def network(width: int = 3, classes: int = 2, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, classes))
    return nn.Sequential(*layers).double()


def logistic(x: float) -> float:
    return 1 / (1 + float(np.exp(-x)))


class Slope(nn.Module):
    """Scores ``(0, w x)``: logistic regression with one weight."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(x), self.weight * x], dim=1)


def line_task(support: float, query: float) -> Episode:
    """One shot of class 1, one query of class 1."""
    one = torch.ones(1, dtype=torch.int64)
    return Episode(
        support=torch.tensor([[support]], dtype=torch.float64),
        support_labels=one,
        queries=torch.tensor([[query]], dtype=torch.float64),
        query_labels=one,
        ways=2,
    )


@pytest.mark.parametrize("first_order", [False, True])
def test_one_step_on_one_weight_is_the_closed_form(first_order: bool) -> None:
    weight, rate, x, z = 0.3, 0.5, 1.5, -0.7
    model, episode = Slope(weight), line_task(x, z)
    maml = Maml(inner_steps=1, inner_lr=rate, first_order=first_order)
    loss = maml.loss(model, episode)
    # L(w) = -log s(w x), L'(w) = -x s(-w x), L''(w) = x^2 s(w x) s(-w x).
    adapted = weight + rate * x * logistic(-weight * x)
    assert float(loss.detach()) == pytest.approx(-np.log(logistic(adapted * z)), rel=1e-12)
    torch.autograd.backward(loss)
    outer = -z * logistic(-adapted * z)
    curvature = 1 - rate * x**2 * logistic(weight * x) * logistic(-weight * x)
    assert model.weight.grad is not None
    expected = outer if first_order else outer * curvature
    assert float(model.weight.grad) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("steps", [1, 4])
def test_adaptation_is_gradient_descent_as_torch_does_it(steps: int) -> None:
    episode, model = random_task(2, 3, 4, 3), network()
    expected = copy.deepcopy(model)
    optimizer = torch.optim.SGD(expected.parameters(), lr=0.2)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(
            functional.cross_entropy(expected(episode.support), episode.support_labels)
        )
        optimizer.step()
    maml = Maml(inner_steps=steps, inner_lr=0.2)
    for differentiable in (False, True):
        found = maml.adapt(model, episode, differentiable=differentiable)
        for name, item in expected.named_parameters():
            torch.testing.assert_close(found[name].detach(), item.detach(), rtol=1e-10, atol=0)
    predicted = maml.predict(model, episode)
    assert torch.equal(predicted, expected(episode.queries).argmax(dim=1))


def test_second_order_gradient_is_the_slope_of_the_loss() -> None:
    episode, model = random_task(2, 2, 3, 3), network()
    exact, first = (Maml(inner_steps=2, inner_lr=0.5, first_order=flag) for flag in (False, True))
    (weight, *_) = model.parameters()
    gradients = [torch.autograd.grad(m.loss(model, episode), weight)[0] for m in (exact, first)]
    step, values = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            weight[1, 1] += sign * step
        values.append(float(exact.loss(model, episode).detach()))
        with torch.no_grad():
            weight[1, 1] -= sign * step
    slope = (values[0] - values[1]) / (2 * step)
    assert float(gradients[0][1, 1]) == pytest.approx(slope, rel=1e-5)
    assert float(gradients[1][1, 1]) != pytest.approx(slope, rel=1e-3)


def test_neither_loss_nor_prediction_changes_the_model() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4)).double().train()
    before = {name: item.clone() for name, item in model.state_dict().items()}
    episode = random_task(3, 2, 2, 3)
    Maml(inner_steps=2).loss(model, episode)
    with torch.no_grad():
        Maml(inner_steps=2).predict(model, episode)
    for name, item in model.state_dict().items():
        assert torch.equal(item, before[name]), name
    assert model.training
    assert all(item.grad is None for item in model.parameters())


def test_training_mode_takes_the_statistics_of_the_batch() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).double()
    episode = random_task(2, 2, 2, 3)
    shifted = Episode(
        support=episode.support + 5,
        support_labels=episode.support_labels,
        queries=episode.queries + 5,
        query_labels=episode.query_labels,
        ways=2,
    )
    maml = Maml(inner_steps=1)
    trained = [float(maml.loss(model.train(), item).detach()) for item in (episode, shifted)]
    stored = [float(maml.loss(model.eval(), item).detach()) for item in (episode, shifted)]
    assert trained[0] == pytest.approx(trained[1], rel=1e-9)
    assert stored[0] != pytest.approx(stored[1], rel=1e-2)


def test_queries_alone_do_not_depend_on_each_other() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).double().train()
    episode = random_task(2, 4, 30, 3)
    half = Episode(
        support=episode.support,
        support_labels=episode.support_labels,
        queries=episode.queries[:20],
        query_labels=episode.query_labels[:20],
        ways=2,
    )
    alone = Maml(inner_steps=2, queries_alone=True)
    expected = alone.predict(model, episode)
    assert torch.equal(alone.predict(model, half), expected[:20])
    # Stored statistics make no batch of it, so that both ways agree.
    model.eval()
    together = Maml(inner_steps=2).predict(model, episode)
    assert torch.equal(alone.predict(model, episode), together)


def test_a_batch_of_queries_decides_together_in_training_mode() -> None:
    """One more query far off moves the statistics, and with them the others' classes."""
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).double().train()
    episode = random_task(2, 4, 30, 3)
    moved = Episode(
        support=episode.support,
        support_labels=episode.support_labels,
        queries=torch.cat([episode.queries, torch.full((1, 3), 300.0, dtype=torch.float64)]),
        query_labels=torch.cat([episode.query_labels, torch.zeros(1, dtype=torch.int64)]),
        ways=2,
    )
    for alone in (False, True):
        maml = Maml(inner_steps=2, queries_alone=alone)
        same = torch.equal(maml.predict(model, moved)[:60], maml.predict(model, episode))
        assert same is alone


def test_frozen_weights_stay() -> None:
    model = network()
    frozen = next(model.parameters())
    frozen.requires_grad_(False)
    adapted = Maml().adapt(model, random_task(2, 1, 1, 3), differentiable=False)
    assert "0.weight" not in adapted
    assert set(adapted) == {"0.bias", "2.weight", "2.bias"}


def test_a_model_with_too_few_classes_is_refused() -> None:
    with pytest.raises(InputError, match=r"with 3 or more classes; this one gives \[3, 2\] for 3"):
        Maml().loss(network(classes=2), random_task(3, 1, 1, 3))


def test_classes_beyond_the_ways_are_never_predicted() -> None:
    model = nn.Linear(3, 6).double()
    with torch.no_grad():
        model.bias[2:] = 100
    found = Maml(inner_steps=1).predict(model, random_task(2, 1, 5, 3))
    assert int(found.max()) <= 1
