"""Prototypical networks against figures worked out by hand and in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.training.few_shot import prototypes
from tests.unit.training.few_shot.tasks import random_task, task


def test_prototypes_distances_loss_and_prediction_by_hand() -> None:
    # Prototypes: (1, 0) of class 0, (0, 3) of class 1.
    episode = task([[0, 0], [0, 3], [2, 0]], [0, 1, 0], [[1, 1], [1, 2]])
    means = prototypes.class_means(episode.support, episode.support_labels, 2)
    assert means.tolist() == [[1, 0], [0, 3]]
    # Squared distances: 1 and 5 of the first query, 4 and 2 of the second.
    found = prototypes.scores(nn.Identity(), episode)
    assert found.tolist() == [[-1, -5], [-4, -2]]
    expected = (math.log(1 + math.exp(-4)) + math.log(1 + math.exp(-2))) / 2
    assert float(prototypes.loss(nn.Identity(), episode)) == pytest.approx(expected, rel=1e-12)
    assert prototypes.predict(nn.Identity(), episode).tolist() == [0, 1]


def test_one_shot_is_the_nearest_neighbour() -> None:
    episode = random_task(ways=6, shots=1, queries=20, width=4)
    found = prototypes.predict(nn.Identity(), episode)
    distances = torch.cdist(episode.queries, episode.support)
    assert torch.equal(found, distances.argmin(dim=1))


def test_distances_of_close_points_do_not_cancel() -> None:
    points = torch.full((1, 3), 1e4)
    near = points + torch.tensor([[0.125, 0, 0]])
    assert prototypes.squared_distances(points, near).item() == 0.125**2


def test_the_loss_trains_the_encoder_as_its_derivative_says() -> None:
    episode = random_task(ways=3, shots=2, queries=2, width=3)
    encoder = nn.Linear(3, 2, bias=False, dtype=torch.float64)
    torch.autograd.backward(prototypes.loss(encoder, episode))
    assert encoder.weight.grad is not None
    with torch.no_grad():
        # Central difference along one weight.
        step, values = 1e-6, []
        for sign in (1, -1):
            encoder.weight[1, 2] += sign * step
            values.append(float(prototypes.loss(encoder, episode)))
            encoder.weight[1, 2] -= sign * step
    slope = (values[0] - values[1]) / (2 * step)
    assert slope != 0
    assert float(encoder.weight.grad[1, 2]) == pytest.approx(slope, rel=1e-6)


def test_the_encoder_sees_one_batch_and_its_output_is_flattened() -> None:
    episode = random_task(ways=2, shots=1, queries=3, width=4)
    sizes = []

    class Watching(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(len(x))
            return x.reshape(len(x), 2, 2, 1)

    found = prototypes.scores(Watching(), episode)
    assert sizes == [8]
    differences = episode.queries.numpy()[:, None] - episode.support.numpy()[None]
    np.testing.assert_allclose(found.numpy(), -(differences**2).sum(axis=2), rtol=1e-12)
