"""What an application computes is what the trained method computes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from edgekit.errors import InputError
from edgekit.training.few_shot import prototypes, reference
from edgekit.training.few_shot.episodes import Episode
from tests.unit.training.few_shot.tasks import random_task


def single(episode: Episode) -> Episode:
    return Episode(
        support=episode.support.float(),
        support_labels=episode.support_labels,
        queries=episode.queries.float(),
        query_labels=episode.query_labels,
        ways=episode.ways,
    )


@given(
    ways=st.integers(2, 6),
    shots=st.integers(1, 6),
    width=st.integers(1, 70),
    seed=st.integers(0, 50),
)
def test_it_is_equal_to_torch(ways: int, shots: int, width: int, seed: int) -> None:
    episode = single(random_task(ways, shots, 3, width, seed))
    expected = functional.softmax(prototypes.scores(nn.Identity(), episode), dim=1).numpy()
    labels = episode.support_labels.numpy()
    means = reference.class_means(episode.support.numpy(), labels, ways)
    torch_means = prototypes.class_means(episode.support, episode.support_labels, ways)
    np.testing.assert_allclose(means, torch_means.numpy(), rtol=1e-5, atol=1e-6)
    found = reference.classify(episode.queries.numpy(), means)
    assert found.dtype == np.float32
    # Distances up to some 300 in float32: 1e-4 in the exponent.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
    predicted = prototypes.predict(nn.Identity(), episode).numpy()
    sure = np.sort(expected, axis=1)[:, -1] - np.sort(expected, axis=1)[:, -2] > 1e-3
    np.testing.assert_array_equal(found.argmax(axis=1)[sure], predicted[sure])


def test_shots_in_any_order_and_number() -> None:
    embeddings = np.array([[1, 2], [3, 4], [5, 0]], dtype=np.float32)
    means = reference.class_means(embeddings, np.array([1, 0, 1]), 2)
    assert means.tolist() == [[3, 4], [3, 1]]


def test_far_prototypes_give_no_overflow() -> None:
    found = reference.classify(
        np.array([[0]], dtype=np.float32), np.array([[100], [101], [0]], dtype=np.float32)
    )
    assert found.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("labels", [[0, 0, 2], [0, 1, 3], [-1, 1, 2], []])
def test_a_class_without_shots_is_refused(labels: list[int]) -> None:
    embeddings = torch.zeros(len(labels), 2).numpy()
    with pytest.raises(InputError, match=r"Prototypes of 3 classes need one or more shots"):
        reference.class_means(embeddings, np.array(labels, dtype=np.int64), 3)
