"""Episodes: small classification tasks drawn from a labelled set.

O. Vinyals et al., "Matching Networks for One Shot Learning", 2016, section 4.1: choose N classes
("ways"), k examples of each as support ("shots"), and further examples of them as queries.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from edgekit.core.model_base import FrozenModel
from edgekit.data.contract import Labels
from edgekit.errors import InputError


class EpisodeShape(FrozenModel):
    """Size of an episode."""

    ways: int = Field(5, ge=2, description="Classes in an episode.")
    shots: int = Field(1, ge=1, description="Labelled examples of each class.")
    queries: int = Field(15, ge=1, description="Examples of each class to classify.")


@dataclass(frozen=True, slots=True)
class Episode:
    """One task; both parts are ordered by class.

    Attributes:
        support: Labelled examples, ``[ways * shots, ...]``.
        support_labels: ``int64[ways * shots]`` in 0..ways-1; every class occurs.
        queries: Examples to classify, ``[ways * queries, ...]``.
        query_labels: ``int64[ways * queries]``.
        ways: Number of classes.
    """

    support: Tensor
    support_labels: Tensor
    queries: Tensor
    query_labels: Tensor
    ways: int


@dataclass(frozen=True, slots=True)
class EpisodePositions:
    """Where the examples of an episode lie in the set it is drawn from.

    Attributes:
        classes: Class in the set of each class of the episode, ``int64[ways]``.
        support: ``int64[ways, shots]``.
        queries: ``int64[ways, queries]``; shares no position with ``support``.
    """

    classes: Labels
    support: Labels
    queries: Labels

    def gather(self, inputs: Tensor) -> Episode:
        """Takes the examples out of ``inputs [n, ...]``: images, or their embeddings."""
        ways = len(self.classes)
        names = torch.arange(ways)
        return Episode(
            support=inputs[torch.from_numpy(self.support.reshape(-1))],
            support_labels=names.repeat_interleave(self.support.shape[1]),
            queries=inputs[torch.from_numpy(self.queries.reshape(-1))],
            query_labels=names.repeat_interleave(self.queries.shape[1]),
            ways=ways,
        )


class EpisodeSampler:
    """Draws episodes; the same labels, shape, seed and number give the same episode.

    Args:
        labels: Class of each example, ``int64[n]``.
        shape: Size of the episodes.
        seed: Seed of all episodes.

    Raises:
        InputError: If there are fewer classes with ``shots + queries`` examples than ways.
    """

    def __init__(self, labels: npt.ArrayLike, shape: EpisodeShape, seed: int) -> None:
        self.shape = shape
        self._seed = seed
        found = np.asarray(labels, dtype=np.int64)
        needed = shape.shots + shape.queries
        by_class = {int(label): np.flatnonzero(found == label) for label in np.unique(found)}
        self._members = {label: kept for label, kept in by_class.items() if len(kept) >= needed}
        if len(self._members) < shape.ways:
            raise InputError(
                f"Episodes of {shape.ways} ways, {shape.shots} shots and {shape.queries} queries "
                f"need {shape.ways} classes of {needed} or more examples; {len(self._members)} "
                f"of {len(by_class)} classes have so many. Lower ways, shots or queries."
            )
        self._classes = np.array(sorted(self._members), dtype=np.int64)

    def positions(self, number: int) -> EpisodePositions:
        """The episode of that number, 0 or more; any order of calls gives the same ones."""
        # Both numbers seed the generator, so that episodes do not depend on those before.
        rng = np.random.default_rng([self._seed, number])
        shots, queries = self.shape.shots, self.shape.queries
        classes = rng.choice(self._classes, self.shape.ways, replace=False)
        drawn = np.stack(
            [
                rng.choice(self._members[int(label)], shots + queries, replace=False)
                for label in classes
            ]
        )
        return EpisodePositions(classes, drawn[:, :shots], drawn[:, shots:])
