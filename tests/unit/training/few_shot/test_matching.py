"""Matching networks against figures worked out by hand and in NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.training.few_shot import matching
from tests.unit.training.few_shot.tasks import random_task, task


def test_attention_and_loss_by_hand() -> None:
    # Cosines of the first query: 1, 0, -1; of the second: 0, 1, 0.
    episode = task([[2, 0], [0, 5], [-1, 0]], [0, 1, 0], [[3, 0], [0, 0.5]])
    found = matching.probabilities(nn.Identity(), episode)
    e = math.e
    first = (e + 1 / e) / (e + 1 + 1 / e)
    second = e / (e + 2)
    assert found[0].tolist() == pytest.approx([first, 1 - first], rel=1e-12)
    assert found[1].tolist() == pytest.approx([1 - second, second], rel=1e-12)
    expected = -(math.log(first) + math.log(second)) / 2
    assert float(matching.loss(nn.Identity(), episode)) == pytest.approx(expected, rel=1e-12)
    assert matching.predict(nn.Identity(), episode).tolist() == [0, 1]


@pytest.mark.parametrize("sharpness", [1.0, 10.0])
def test_probabilities_are_those_of_numpy(sharpness: float) -> None:
    episode = random_task(ways=4, shots=3, queries=5, width=6)
    queries, support = episode.queries.numpy(), episode.support.numpy()
    norms = np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(support, axis=1))
    weights = np.exp(sharpness * (queries @ support.T) / norms)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = np.stack([weights[:, 3 * k : 3 * k + 3].sum(axis=1) for k in range(4)], axis=1)
    found = matching.probabilities(nn.Identity(), episode, sharpness)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-11)
    predicted = matching.predict(nn.Identity(), episode, sharpness)
    assert predicted.tolist() == expected.argmax(axis=1).tolist()
    chosen = expected[np.arange(20), episode.query_labels.numpy()]
    loss = float(matching.loss(nn.Identity(), episode, sharpness))
    assert loss == pytest.approx(-np.log(chosen).mean(), rel=1e-11)


def test_lengths_do_not_count_and_zeros_are_alike_to_all() -> None:
    queries = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    support = torch.tensor([[3.0, 0.0], [1.0, 1.0]])
    found = matching.cosine_attention(queries, support)
    torch.testing.assert_close(found, matching.cosine_attention(7 * queries, 0.1 * support))
    assert found[1].tolist() == [0.5, 0.5]


def test_no_probability_is_above_the_stated_bound() -> None:
    episode = task([[1, 0], [-1, 0], [-1, 0]], [0, 1, 2], [[1, 0]])
    found = matching.probabilities(nn.Identity(), episode)
    assert float(found[0, 0]) == pytest.approx(math.e**2 / (math.e**2 + 2), rel=1e-12)


def test_gradients_reach_the_encoder() -> None:
    episode = random_task(ways=3, shots=1, queries=2, width=3)
    encoder = nn.Linear(3, 4, dtype=torch.float64)
    torch.autograd.backward(matching.loss(encoder, episode))
    assert encoder.weight.grad is not None
    assert float(encoder.weight.grad.abs().min()) > 0
