"""How many channels each group keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.training.pruning.channel_graph import ChannelGroup

type Kept = dict[str, int]
"""Positions left, by root of the group."""
_HALVINGS = 12
"""The share of channels to remove is found to 1/4096."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group that may be pruned.

    Attributes:
        group: Its channels.
        scores: Importance, ``float64[positions]``.
        step: The number of positions left is a multiple of this.
    """

    group: ChannelGroup
    scores: Tensor
    step: int

    @property
    def fewest(self) -> int:
        """Positions that are left at least."""
        return min(self.step, self.group.positions)

    def rounded(self, positions: float) -> int:
        """The nearest number of positions that may be left."""
        if positions >= self.group.positions:
            return self.group.positions
        nearest = int(positions / self.step + 0.5) * self.step
        return min(max(nearest, self.fewest), self.group.positions)

    def fewer(self, positions: int) -> int | None:
        """The next smaller number that may be left."""
        smaller = (positions - 1) // self.step * self.step
        return smaller if smaller >= self.fewest else None

    def more(self, positions: int) -> int | None:
        """The next larger number that may be left."""
        larger = (positions // self.step + 1) * self.step
        if positions >= self.group.positions:
            return None
        return min(larger, self.group.positions)

    def removed(self, kept: int) -> list[int]:
        """Channels of the root that go when ``kept`` positions stay: the least important."""
        order = torch.argsort(self.scores, stable=True).tolist()
        return self.group.channels_at(order[: self.group.positions - kept])

    def loss(self, now: int, then: int) -> float:
        """Importance lost by going from ``now`` positions to ``then``."""
        ascending = torch.sort(self.scores).values
        total = self.group.positions
        return float(ascending[total - now : total - then].sum())

    def relative_loss(self, now: int, then: int) -> float:
        """``log(importance of what is left at now / of what is left at then)``.

        The same step costs more the fewer are left, and halving a layer costs the same whether
        it is narrow or wide; what was lost in absolute terms would spare wide layers nothing
        and strip narrow ones.
        """
        ascending = torch.sort(self.scores).values
        total = self.group.positions
        before, after = (float(ascending[total - kept :].sum()) for kept in (now, then))
        if after <= 0:
            return math.inf if before > 0 else 0.0
        return math.log(before / after)


type Candidates = Mapping[str, Candidate]


def everything(candidates: Candidates) -> Kept:
    """Nothing removed."""
    return {root: item.group.positions for root, item in candidates.items()}


def fewest(candidates: Candidates) -> Kept:
    """As much removed as can be."""
    return {root: item.fewest for root, item in candidates.items()}


def uniform(candidates: Candidates, share: float) -> Kept:
    """The same share of every group removed, rounded."""
    return {
        root: item.rounded(item.group.positions * (1 - share)) for root, item in candidates.items()
    }


def over_all(candidates: Candidates, share: float) -> Kept:
    """The least important share of all positions removed, then rounded in each group."""
    every = torch.cat([item.scores for item in candidates.values()])
    count = round(len(every) * share)
    if count == 0:
        return everything(candidates)
    threshold = torch.sort(every).values[count - 1]
    return {
        root: item.rounded(int((item.scores > threshold).sum()))
        for root, item in candidates.items()
    }


def bisect(allocate: Callable[[float], Kept], cost: Callable[[Kept], float], goal: float) -> Kept:
    """The allocation for the smallest share whose cost is at most ``goal``.

    Args:
        allocate: Keeps no more for a larger share.
        cost: Of an allocation.
        goal: Reached at share 1.
    """
    low, high = 0.0, 1.0
    best = allocate(high)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        found = allocate(middle)
        if found == best or cost(found) <= goal:
            high, best = middle, found
        else:
            low = middle
    return best


def refill(candidates: Candidates, kept: Kept, cost: Callable[[Kept], float], goal: float) -> Kept:
    """Gives back the most important channels for which there is room below the goal.

    Rounding makes the cost jump, so that bisecting may end well below it. Each group is tried
    once, and gets at most one step back.
    """
    gains = []
    for root, item in candidates.items():
        larger = item.more(kept[root])
        if larger is not None:
            gains.append((item.loss(larger, kept[root]) / (larger - kept[root]), root, larger))
    result = dict(kept)
    for _, root, larger in sorted(gains, reverse=True):
        trial = {**result, root: larger}
        if cost(trial) <= goal:
            result = trial
    return result
