"""Channels go where they cost the most time for their importance."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgekit.errors import ConfigError, InputError
from edgekit.training.pruning.allocation import Candidate, Kept, everything
from edgekit.training.pruning.channel_graph import ChannelGroup
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.cost import cost_of
from edgekit.training.pruning.latency_table import (
    LatencyTable,
    least_loss,
    measure_table,
    nearest_below,
)
from edgekit.training.pruning.structured import prune_structured
from tests.unit.training.pruning.networks import images, small

TABLE = LatencyTable(
    10.0, {"a": ((8, 4.0), (16, 6.0), (32, 10.0)), "b": ((8, 9.0), (16, 9.0), (32, 10.0))}
)


def candidate(root: str, scores: list[float], step: int = 8) -> Candidate:
    group = ChannelGroup(root, len(scores), 1, ())
    return Candidate(group, torch.tensor(scores, dtype=torch.float64), step)


def test_between_points_it_is_linear() -> None:
    assert TABLE.ms("a", 16) == 6.0
    assert TABLE.ms("a", 24) == 8.0
    assert TABLE.ms("a", 12) == 5.0
    assert TABLE.ms("a", 4) == 4.0
    assert TABLE.predict({"a": 24, "b": 16}) == 10.0 - 2.0 - 1.0


def test_what_was_not_measured_is_refused() -> None:
    with pytest.raises(InputError, match="no layer 'c'; it has a, b"):
        TABLE.ms("c", 8)
    with pytest.raises(InputError, match="at most 32 channels"):
        TABLE.ms("a", 33)


@pytest.mark.parametrize(
    ("base", "points"),
    [
        (0.0, ((1, 1.0),)),
        (float("nan"), ((1, 1.0),)),
        (1.0, ()),
        (1.0, ((4, 1.0), (2, 1.0))),
        (1.0, ((4, 1.0), (4, 2.0))),
        (1.0, ((0, 1.0), (2, 1.0))),
        (1.0, ((1, -1.0),)),
    ],
)
def test_impossible_tables_are_refused(base: float, points: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(InputError):
        LatencyTable(base, {"a": points})


def test_each_step_loses_the_least_for_a_millisecond() -> None:
    # 8 channels of a save 2 ms and lose a quarter of the layer; 8 of b save 0.5 ms and lose
    # hardly anything.
    candidates = {
        "a": candidate("a", [1.0] * 32),
        "b": candidate("b", [0.01] * 16 + [0.99] * 16),
    }
    assert least_loss(candidates, TABLE, 9.5) == {"a": 32, "b": 24}
    assert least_loss(candidates, TABLE, 9.0) == {"a": 32, "b": 16}
    # Below 16 channels b saves nothing more.
    assert least_loss(candidates, TABLE, 7.0) == {"a": 24, "b": 16}
    with pytest.raises(ConfigError, match=r"3 ms of 10 ms are left and 2 ms are wanted"):
        least_loss(candidates, TABLE, 2.0)


def test_halving_costs_the_same_whether_a_layer_is_narrow_or_wide() -> None:
    wide, narrow = candidate("a", [1.0] * 64), candidate("b", [5.0] * 16)
    assert wide.relative_loss(64, 32) == pytest.approx(narrow.relative_loss(16, 8))
    assert wide.relative_loss(64, 32) == pytest.approx(math.log(2))
    assert wide.relative_loss(32, 24) > wide.relative_loss(64, 56)
    assert candidate("c", [0.0, 0.0, 0.0, 1.0], 1).relative_loss(4, 1) == 0
    assert candidate("c", [0.0] * 4, 1).relative_loss(4, 1) == 0


def test_a_step_that_saves_nothing_is_taken_with_the_next() -> None:
    table = LatencyTable(10.0, {"a": ((8, 5.0), (16, 10.0), (24, 10.0), (32, 10.0))})
    assert least_loss({"a": candidate("a", [1.0] * 32)}, table, 9.0) == {"a": 8}


def test_the_table_holds_what_was_measured() -> None:
    candidates = {"a": candidate("a", [1.0] * 32), "b": candidate("b", [1.0] * 16)}
    seen: list[Kept] = []

    def make(kept: Kept) -> nn.Module:
        seen.append(dict(kept))
        return nn.Linear(kept["a"], kept["b"])

    def measure(module: nn.Module) -> float:
        assert isinstance(module, nn.Linear)
        return module.in_features + module.out_features / 10

    table = measure_table(candidates, make, measure)
    assert table.base_ms == 33.6
    assert table.points["a"] == ((8, 9.6), (16, 17.6), (24, 25.6), (32, 33.6))
    assert table.points["b"] == ((8, 32.8), (16, 33.6))
    assert seen[0] == everything(candidates)


def by_macs(slow: str, factor: float) -> Callable[[nn.Module], float]:
    """A clock that counts MACs, and a layer's output channels once more."""

    def measure(module: nn.Module) -> float:
        weight = module.get_submodule(slow).get_parameter("weight")
        return cost_of(module, [images()]).macs * 1e-6 + factor * len(weight)

    return measure


@pytest.mark.parametrize("slow", ["first", "grouped"])
def test_a_network_is_pruned_where_it_is_slow(slow: str) -> None:
    network = small()
    measure = by_macs(slow, 1.0)
    before = measure(network)
    config = PruneConfig(allocation="latency", latency_ratio=0.6, round_to=4)
    report = prune_structured(network, images(), config, measure=measure)
    assert report.latency_ms == (before, measure(network))
    assert measure(network) <= 0.6 * before
    shares = {item.layer: item.after / item.before for item in report.channels}
    assert min(shares, key=lambda layer: shares[layer]) == slow


def test_a_clock_that_shows_no_gain_ends_in_an_error() -> None:
    config = PruneConfig(allocation="latency", latency_ratio=0.6, round_to=4)
    with pytest.raises(ConfigError, match="latency_ratio was not reached"):
        prune_structured(small(), images(), config, measure=lambda module: 10.0)


def test_gains_that_do_not_add_up_end_in_an_error() -> None:
    layers = {"first": 16, "second": 32, "grouped": 48}

    def measure(module: nn.Module) -> float:
        """One layer with fewer channels saves time, several save nothing."""
        found = {name: len(module.get_submodule(name).get_parameter("weight")) for name in layers}
        (share, *others) = sorted(found[name] / layers[name] for name in layers)
        return 10.0 * share if others == [1.0, 1.0] else 10.0

    config = PruneConfig(allocation="latency", latency_ratio=0.2, round_to=16)
    with pytest.raises(ConfigError, match="2 ms are wanted, and 10 ms were measured"):
        prune_structured(small(), images(), config, measure=measure)


def one_layer() -> tuple[dict[str, Candidate], LatencyTable]:
    """A table that promises 4 ms less for each 8 of 64 channels."""
    points = tuple((8 * count, 4.0 * count) for count in range(1, 9))
    return {"a": candidate("a", [1.0] * 64)}, LatencyTable(32.0, {"a": points})


def test_promises_that_are_not_kept_are_corrected_and_no_more_is_removed_than_needed() -> None:
    """In truth half is saved: 20 ms are 16 channels, and not 40."""
    candidates, table = one_layer()
    tried = []

    def measure(kept: Kept) -> float:
        tried.append(kept["a"])
        return 32.0 - 0.5 * (32.0 - table.ms("a", kept["a"]))

    kept, now = nearest_below(candidates, table, 20.0, measure)
    assert tried[0] == 40
    assert kept == {"a": 16}
    assert now == 20.0


def test_more_is_kept_where_less_would_have_done() -> None:
    """In truth twice as much is saved as promised: 24 ms are 48 channels."""
    candidates, table = one_layer()
    kept, now = nearest_below(
        candidates, table, 24.0, lambda kept: 32.0 - 2 * (32.0 - table.ms("a", kept["a"]))
    )
    assert (kept, now) == ({"a": 56}, 24.0)


def test_what_no_measurement_confirms_is_an_error() -> None:
    candidates, table = one_layer()
    with pytest.raises(ConfigError, match=r"20 ms are wanted, and 31 ms were measured"):
        nearest_below(candidates, table, 20.0, lambda _: 31.0)
    with pytest.raises(ConfigError, match=r"1 ms are wanted, and 4 ms were measured"):
        nearest_below(candidates, table, 1.0, lambda kept: table.ms("a", kept["a"]))


def test_the_smallest_network_is_tried_where_the_table_promises_too_little() -> None:
    candidates, table = one_layer()
    kept, now = nearest_below(candidates, table, 2.0, lambda kept: kept["a"] / 8.0)
    assert (kept, now) == ({"a": 16}, 2.0)
