"""Latency by layer and channels, and the channels that are best removed to lower it."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from edgekit.errors import ConfigError, InputError
from edgekit.training.pruning.allocation import Candidates, Kept, everything, fewest

_POINTS = 4
"""Channel counts measured of each layer, besides all its channels."""


_MEASURED_ROUNDS = 8
"""How many predictions are measured at most."""
_NEAR = 0.02
"""Share of the wanted latency that need not be used up."""


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Measured latency of a network in which one layer at a time has fewer channels.

    Attributes:
        base_ms: Latency of the whole network.
        points: By layer, pairs of channels and ms, with ascending channels; the last is the
            whole layer.
    """

    base_ms: float
    points: Mapping[str, tuple[tuple[int, float], ...]]

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            InputError: If one is not positive, or channels do not ascend.
        """
        if not (math.isfinite(self.base_ms) and self.base_ms > 0):
            raise InputError(f"A latency of {self.base_ms} ms cannot be: it has to be positive")
        for layer, pairs in self.points.items():
            channels = [pair[0] for pair in pairs]
            if not pairs or channels != sorted(set(channels)) or channels[0] < 1:
                raise InputError(
                    f"The latency table of layer {layer!r} needs ascending channels from 1 on; "
                    f"it has {channels}"
                )
            if not all(math.isfinite(ms) and ms > 0 for _, ms in pairs):
                raise InputError(
                    f"The latency table of layer {layer!r} has a latency that is not positive"
                )

    def ms(self, layer: str, channels: int) -> float:
        """Latency of the network whose ``layer`` has so many channels; linear between points.

        Below the fewest channels that were measured it is the latency measured for those.

        Raises:
            InputError: If the layer was not measured, or has fewer channels.
        """
        if layer not in self.points:
            raise InputError(
                f"The latency table has no layer {layer!r}; it has {', '.join(self.points)}"
            )
        pairs = self.points[layer]
        if channels > pairs[-1][0]:
            raise InputError(
                f"Layer {layer!r} was measured with at most {pairs[-1][0]} channels, not with "
                f"{channels}"
            )
        at = bisect.bisect_left(pairs, channels, key=lambda pair: pair[0])
        right, right_ms = pairs[at]
        if right == channels or at == 0:
            return right_ms
        left, left_ms = pairs[at - 1]
        return left_ms + (right_ms - left_ms) * (channels - left) / (right - left)

    def predict(self, channels: Mapping[str, int]) -> float:
        """Latency when several layers have fewer channels: what each of them saves is added.

        Neighbouring layers save less together than alone, so this promises too much where
        much is removed; the result has to be measured.
        """
        saved = sum(self.base_ms - self.ms(layer, count) for layer, count in channels.items())
        return self.base_ms - saved


def measure_table(
    candidates: Candidates,
    make: Callable[[Kept], nn.Module],
    measure: Callable[[nn.Module], float],
) -> LatencyTable:
    """Measures every layer that may be pruned at up to four channel counts.

    Args:
        candidates: Groups by root.
        make: A copy of the network that keeps so many positions.
        measure: Latency of a network in ms.
    """
    whole = everything(candidates)
    base = measure(make(whole))
    points: dict[str, tuple[tuple[int, float], ...]] = {}
    for root, item in candidates.items():
        total, width = item.group.positions, item.group.width
        counts = sorted({item.rounded(total * part / _POINTS) for part in range(_POINTS)})
        points[root] = (
            *(
                (count * width, measure(make({**whole, root: count})))
                for count in counts
                if count < total
            ),
            (total * width, base),
        )
    return LatencyTable(base, points)


def least_loss(candidates: Candidates, table: LatencyTable, goal_ms: float) -> Kept:
    """Removes where the least importance is lost for each ms, until the goal is predicted.

    What counts is the share of the importance that a layer has left (`Candidate.relative_loss`).

    Where the next step of a layer saves nothing, as on hardware that works in larger blocks,
    the nearest further step that does is taken at once.

    Raises:
        ConfigError: If the table promises no such latency; names the smallest.
    """
    kept = everything(candidates)
    while (now := _predicted(candidates, table, kept)) > goal_ms:
        steps = [
            step
            for root in candidates
            if (step := _cheapest_step(candidates, table, kept, root)) is not None
        ]
        if not steps:
            raise ConfigError(
                f"latency_ratio cannot be reached: with as few channels as round_to and the "
                f"measured table allow, {now:.4g} ms of {table.base_ms:.4g} ms are left and "
                f"{goal_ms:.4g} ms are wanted. Raise latency_ratio, or lower round_to"
            )
        _, root, smaller = min(steps)
        kept[root] = smaller
    return kept


def nearest_below(
    candidates: Candidates,
    table: LatencyTable,
    wanted_ms: float,
    measure: Callable[[Kept], float],
) -> tuple[Kept, float]:
    """What is measured to come nearest to a latency without exceeding it.

    A prediction that promised too much is lowered by what was missed; once one has been kept,
    the middle between it and the lowest that was not is tried.

    Args:
        candidates: Groups by root.
        table: Of the same network.
        wanted_ms: The latency.
        measure: Latency in ms of the network that keeps so many positions.

    Raises:
        ConfigError: If no network is measured to be as fast.
    """
    failed, met = table.base_ms, -math.inf
    best: tuple[Kept, float] | None = None
    predicted, now = wanted_ms, math.inf
    smallest = _predicted(candidates, table, fewest(candidates))
    for _ in range(_MEASURED_ROUNDS):
        # Layers may also save more together than the table promises.
        predicted = max(predicted, smallest)
        kept = least_loss(candidates, table, predicted)
        now = measure(kept)
        if now > wanted_ms:
            failed = min(failed, predicted)
            if predicted <= smallest:
                break  # there is no smaller network
        else:
            met = max(met, predicted)
            if best is None or now > best[1]:
                best = kept, now
            if now >= (1 - _NEAR) * wanted_ms:
                break
        predicted = (met + failed) / 2 if best is not None else predicted - (now - wanted_ms)
    if best is None:
        raise ConfigError(
            f"latency_ratio was not reached: {wanted_ms:.4g} ms are wanted, and {now:.4g} ms were "
            "measured with as few channels as round_to allows or the table of single layers "
            "predicts. Raise latency_ratio, lower round_to, or measure with less noise"
        )
    return best


def _cheapest_step(
    candidates: Candidates, table: LatencyTable, kept: Kept, root: str
) -> tuple[float, str, int] | None:
    """Relative importance lost for each ms saved by the best smaller number of positions."""
    item = candidates[root]
    now = kept[root]
    before = table.ms(root, now * item.group.width)
    smaller = item.fewer(now)
    while smaller is not None:
        saved = before - table.ms(root, smaller * item.group.width)
        if saved > 0:
            return item.relative_loss(now, smaller) / saved, root, smaller
        smaller = item.fewer(smaller)
    return None


def _predicted(candidates: Candidates, table: LatencyTable, kept: Kept) -> float:
    return table.predict({
        root: count * candidates[root].group.width for root, count in kept.items()
    })  # fmt: skip
