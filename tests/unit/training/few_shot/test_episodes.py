"""Episodes: their shape, their seed, and that no query is a shot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.training.few_shot.episodes import EpisodePositions, EpisodeSampler, EpisodeShape


@given(
    counts=st.lists(st.integers(4, 9), min_size=3, max_size=7),
    ways=st.integers(2, 3),
    shots=st.integers(1, 2),
    queries=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_every_episode_is_a_task_of_its_shape(
    counts: list[int], ways: int, shots: int, queries: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    shape = EpisodeShape(ways=ways, shots=shots, queries=queries)
    positions = EpisodeSampler(labels, shape, seed).positions(seed)
    assert positions.support.shape == (ways, shots)
    assert positions.queries.shape == (ways, queries)
    assert len(set(positions.classes.tolist())) == ways
    everything = np.concatenate([positions.support, positions.queries], axis=1)
    assert len(np.unique(everything)) == everything.size
    np.testing.assert_array_equal(labels[everything], positions.classes[:, None] + 0 * everything)


def test_seed_and_number_alone_decide() -> None:
    labels = np.repeat(np.arange(9), 6)
    shape = EpisodeShape(ways=3, shots=2, queries=2)
    first, second = EpisodeSampler(labels, shape, 4), EpisodeSampler(labels, shape, 4)
    for number in range(5):
        first.positions(number)
    again, alone = first.positions(7), second.positions(7)
    np.testing.assert_array_equal(again.support, alone.support)
    np.testing.assert_array_equal(again.queries, alone.queries)
    others = (first.positions(8), EpisodeSampler(labels, shape, 5).positions(7))
    for other in others:
        assert not np.array_equal(other.support, again.support)


def test_classes_and_examples_are_drawn_evenly() -> None:
    labels = np.repeat(np.arange(6), 5)
    sampler = EpisodeSampler(labels, EpisodeShape(ways=2, shots=1, queries=1), 0)
    drawn = [sampler.positions(number) for number in range(3000)]
    classes = np.bincount(np.concatenate([item.classes for item in drawn]), minlength=6)
    # Binomial with 3000 draws of 1/3: standard deviation 26.
    assert np.abs(classes - 1000).max() < 130
    support = np.bincount(np.concatenate([item.support.ravel() for item in drawn]), minlength=30)
    # Binomial with 3000 draws of 1/15: standard deviation 14.
    assert np.abs(support - 200).max() < 70


def test_gathering_orders_by_class() -> None:
    positions = EpisodePositions(
        classes=np.array([8, 3]),
        support=np.array([[5, 1], [2, 7]]),
        queries=np.array([[0], [6]]),
    )
    episode = positions.gather(10 * torch.arange(9.0).unsqueeze(1))
    assert episode.support.flatten().tolist() == [50, 10, 20, 70]
    assert episode.support_labels.tolist() == [0, 0, 1, 1]
    assert episode.queries.flatten().tolist() == [0, 60]
    assert episode.query_labels.tolist() == [0, 1]
    assert episode.ways == 2


def test_small_classes_are_left_out() -> None:
    labels = [0, 0, 1, 1, 1, 2, 2, 2]
    sampler = EpisodeSampler(labels, EpisodeShape(ways=2, shots=1, queries=2), 0)
    assert {int(item) for n in range(20) for item in sampler.positions(n).classes} == {1, 2}


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(
        InputError,
        match=r"need 3 classes of 3 or more examples; 2 of 3 classes have so many\. Lower",
    ):
        EpisodeSampler([0, 0, 1, 1, 1, 2, 2, 2], EpisodeShape(ways=3, shots=1, queries=2), 0)
