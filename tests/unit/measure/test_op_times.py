"""Statistics of a profile, on times that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from edgekit.core.op_profile import OpFacts, ProfileConfig
from edgekit.measure.op_times import Conditions, OpTimes, restore_cut, summarize

CONDITIONS = Conditions(target="t", runtime="r", method="m", resolution_us=1.0)
FACTS = (
    OpFacts(index=0, op="CONV", name="a", partition="X 1", macs=4000),
    OpFacts(index=1, op="ADD", name="b", partition="CPU", macs=0),
    OpFacts(index=2, op="CONV", name="c", partition="X 1", macs=None),
)


def load(ops: list[float], latency: float, unsure: tuple[float, ...] = (0, 0, 0)) -> OpTimes:
    runs = 10
    return OpTimes(
        ops_us=np.tile(np.array(ops), (runs, 1)),
        profiled_us=np.full(runs, sum(ops) + 5.0),
        latency_us=np.full(runs, latency),
        unsure_us=np.array(unsure, np.float64),
    )


def test_figures_and_intervals() -> None:
    means = np.array([[100.0, 10, 50], [110, 12, 50], [102, 11, 53]])
    loads = [load(list(row), 200.0 + place) for place, row in enumerate(means)]
    profile = summarize(FACTS, loads, CONDITIONS, ProfileConfig(loads=3, runs=10))
    first = profile.operators[0]
    low, high = stats.t.interval(0.95, 2, means[:, 0].mean(), stats.sem(means[:, 0]))
    assert (first.time_us.value, first.time_us.low, first.time_us.high) == pytest.approx(
        (means[:, 0].mean(), low, high)
    )
    shares = means / means.sum(axis=1, keepdims=True)
    assert [item.share.value for item in profile.operators] == pytest.approx(shares.mean(axis=0))
    assert first.gmacs_per_s == pytest.approx(4000 / means[:, 0].mean() / 1e3)
    assert [(item.key, item.operators) for item in profile.by_type] == [("CONV", 2), ("ADD", 1)]
    assert profile.by_type[0].macs is None
    assert profile.by_type[0].time_us.value == pytest.approx(means[:, [0, 2]].sum() / 3)
    assert [item.key for item in profile.by_partition] == ["X 1", "CPU"]
    assert profile.sum_us.value == pytest.approx(means.sum() / 3)
    assert profile.latency_us.value == pytest.approx(201)
    assert profile.coverage.value == pytest.approx((means.sum(axis=1) / [200, 201, 202]).mean())
    assert profile.notes == ()


def test_runs_that_were_disturbed_do_not_count() -> None:
    quiet = load([100.0, 10, 50], 200)
    quiet.ops_us[3:5] *= 50
    quiet.profiled_us[3:5] *= 50
    quiet.latency_us[7] = 9000
    profile = summarize(FACTS, [quiet, quiet], CONDITIONS, ProfileConfig(loads=2, runs=10))
    assert profile.operators[0].time_us.value == pytest.approx(100)
    assert profile.latency_us.value == pytest.approx(200)


def test_what_the_clock_hides_widens_the_intervals() -> None:
    loads = [load([100.0, 10, 50], 200, (0.5, 1.0, 0.5))] * 2
    profile = summarize(FACTS, loads, CONDITIONS, ProfileConfig(loads=2, runs=10))
    added = profile.operators[1]
    assert (added.time_us.low, added.time_us.high) == pytest.approx((9, 11))
    # By hand: 10 of 160 may be 9 or 11 while the others are 1 more or less.
    assert (added.share.low, added.share.high) == pytest.approx((9 / 160, 11 / 160))
    together = load([0.0, 0.0, 2.0], 5, (1.0, 1.0, 0.5))
    coarse = summarize(FACTS, [together] * 2, CONDITIONS, ProfileConfig(loads=2, runs=10))
    assert "2 of 3 operators take less than its step" in coarse.notes[0]
    assert coarse.operators[1].time_us.high == pytest.approx(1)


def test_one_load_has_no_interval() -> None:
    with pytest.raises(ValueError, match="1 load"):
        summarize(FACTS, [load([1.0, 1, 1], 4)], CONDITIONS, ProfileConfig())


def test_a_cut_clock_is_right_on_average() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal([3.3, 40.7, 812.2], [0.5, 1.0, 9.0], (20000, 3))
    times, unsure = restore_cut(np.floor(true), 1.0)
    assert times.mean(axis=0) == pytest.approx(true.mean(axis=0), abs=0.03)
    assert unsure == pytest.approx([0.5, 0.5, 0.5], abs=1e-3)
    zeros, hidden = restore_cut(np.zeros((4, 1)), 1.0)
    assert zeros.max() == 0
    assert hidden.tolist() == [1.0]
