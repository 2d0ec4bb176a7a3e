"""Small episodes for the tests of few-shot methods."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.training.few_shot.episodes import Episode


def task(support: list[list[float]], labels: list[int], queries: list[list[float]]) -> Episode:
    """An episode of given points; the queries' classes are 0, 1, ... in turn."""
    ways = max(labels) + 1
    return Episode(
        support=torch.tensor(support, dtype=torch.float64),
        support_labels=torch.tensor(labels),
        queries=torch.tensor(queries, dtype=torch.float64),
        query_labels=torch.arange(len(queries)) % ways,
        ways=ways,
    )


def random_task(ways: int, shots: int, queries: int, width: int, seed: int = 0) -> Episode:
    """An episode of normally distributed points."""
    generator = torch.Generator().manual_seed(seed)

    def points(count: int) -> Tensor:
        return torch.randn(count, width, generator=generator, dtype=torch.float64)

    return Episode(
        support=points(ways * shots),
        support_labels=torch.arange(ways).repeat_interleave(shots),
        queries=points(ways * queries),
        query_labels=torch.arange(ways).repeat_interleave(queries),
        ways=ways,
    )
