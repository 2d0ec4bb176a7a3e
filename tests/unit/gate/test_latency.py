"""The verdict on latency, on loads whose times the test makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from edgekit.gate import latency as gate
from edgekit.gate.latency import LOOKS, LatencyJudgement, gate_latency, judge_ratio
from edgekit.gate.options import GateOptions
from edgekit.gate.verdict import Verdict
from edgekit.measure import latency as clock_of_measure
from edgekit.measure.latency import LatencyRatio, Runnable
from edgekit.measure.latency_loads import Loader


class Machine:
    """A clock for both modules; each load is shifted, each run scatters."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
        self.now_ns = 0
        self.random = np.random.default_rng(seed)
        self.runs = 0
        monkeypatch.setattr(clock_of_measure, "perf_counter_ns", lambda: self.now_ns)
        monkeypatch.setattr("time.perf_counter", lambda: self.now_ns / 1e9)

    def loader(self, run_ms: float, placement: float = 0.01, scatter: float = 0.02) -> Loader:
        @contextmanager
        def load() -> Iterator[Runnable]:
            here = run_ms * (1 + placement * self.random.standard_normal())

            def run() -> None:
                self.runs += 1
                self.now_ns += round(here * 1e6 * (1 + scatter * abs(self.random.normal())))

            yield run

        return load


def judged(
    monkeypatch: pytest.MonkeyPatch,
    ratio: float,
    *,
    seed: int = 0,
    run_ms: float = 1.0,
    budget_s: float = 60.0,
    placement: float = 0.01,
) -> LatencyJudgement:
    machine = Machine(monkeypatch, seed)
    return gate_latency(
        machine.loader(run_ms * ratio, placement),
        machine.loader(run_ms, placement),
        GateOptions(),
        budget_s=budget_s,
        seed=seed,
    )


def test_equal_artifacts_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [judged(monkeypatch, 1.0, seed=seed) for seed in range(40)]
    assert [item.verdict for item in said] == [Verdict.PASS] * 40
    assert {item.ratio.loads for item in said} <= set(LOOKS)
    assert said[0].ratio.confidence == pytest.approx(1 - 0.02 / len(LOOKS))


@pytest.mark.parametrize("ratio", [1.05, 1.10])
def test_slowdowns_fail(monkeypatch: pytest.MonkeyPatch, ratio: float) -> None:
    said = [judged(monkeypatch, ratio, seed=seed) for seed in range(20)]
    assert [item.verdict for item in said] == [Verdict.FAIL] * 20
    found = float(np.median([item.ratio.median_ratio for item in said]))
    assert found == pytest.approx(ratio, rel=0.01)
    assert said[0].needed is None


def test_a_slowdown_of_the_tolerance_hardly_ever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [judged(monkeypatch, 1.02, seed=seed).verdict for seed in range(25)]
    # 1 % is promised; 3 or more of 25 have a probability of 0.2 %.
    assert said.count(Verdict.FAIL) < 3
    assert said.count(Verdict.CANNOT_TELL) > 15


def test_what_is_undecided_is_looked_at_to_the_end_and_says_what_would_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = judged(monkeypatch, 1.021, placement=0.03)
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.ratio.loads == LOOKS[-1]
    assert found.needed is None or found.needed > LOOKS[-1]


def test_the_budget_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = judged(monkeypatch, 1.02, run_ms=20.0, budget_s=3.0, placement=0.03)
    assert found.verdict is Verdict.CANNOT_TELL
    assert found.ratio.loads < LOOKS[-1]
    assert found.seconds < 4
    slow = judged(monkeypatch, 1.5, run_ms=1000.0, budget_s=1.0)
    assert (slow.ratio.loads, slow.verdict) == (6, Verdict.FAIL)
    assert slow.ratio.pairs == 6 * gate.MIN_PAIRS


def test_a_pause_of_the_machine_does_not_use_up_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = Machine(monkeypatch, 0)
    slow, plain = machine.loader(1.02, 0.03), machine.loader(1.0, 0.03)
    loads = 0

    @contextmanager
    def paused_once() -> Iterator[Runnable]:
        nonlocal loads
        loads += 1
        if loads == 8:
            machine.now_ns += 20 * 10**9
        with slow() as run:
            yield run

    found = gate_latency(paused_once, plain, GateOptions(), budget_s=40)
    assert (found.verdict, found.ratio.loads) == (Verdict.CANNOT_TELL, LOOKS[-1])


def test_short_runs_are_timed_several_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(monkeypatch, 0)
    found = gate_latency(
        machine.loader(0.022, 0), machine.loader(0.02, 0), GateOptions(), budget_s=10
    )
    assert found.verdict is Verdict.FAIL
    assert found.ratio.b_p50_ms == pytest.approx(0.02, rel=0.05)
    assert machine.runs > 10 * found.ratio.pairs


def ratio(centre: float, half: float, loads: int = 20) -> LatencyRatio:
    return LatencyRatio(
        a_p50_ms=centre, b_p50_ms=1.0, ratio_of_medians=centre, median_ratio=centre,
        low=centre * np.exp(-half), high=centre * np.exp(half), confidence=0.98,
        pairs=400, loads=loads, warmup_runs=5, seed=0, device="d",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("centre", "half", "verdict"),
    [
        (1.0, 0.01, Verdict.PASS),
        (0.5, 0.3, Verdict.PASS),
        (1.04, 0.01, Verdict.FAIL),
        (1.0, 0.03, Verdict.CANNOT_TELL),
        (1.02, 0.001, Verdict.CANNOT_TELL),
    ],
)
def test_verdict_is_that_of_the_interval(centre: float, half: float, verdict: Verdict) -> None:
    assert judge_ratio(ratio(centre, half), 0.02).verdict is verdict


def test_needed_loads_shrink_the_interval_to_the_limit() -> None:
    found = judge_ratio(ratio(1.0, 0.04), 0.02)
    assert found.needed == 82  # 20 loads times (0.04 / log(1.02)) squared
    assert judge_ratio(ratio(1.02, 0.01), 0.02).needed is None


def test_minimum_effect_lies_beyond_tolerance_by_both_errors() -> None:
    from scipy import stats

    half = 0.01
    error = half / stats.t.ppf(0.99, 19)
    wanted = np.expm1(np.log(1.02) + half + stats.norm.ppf(0.9) * error)
    assert judge_ratio(ratio(1.0, half), 0.02).minimum_effect == pytest.approx(wanted)


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ValueError, match="a tolerance of -1 cannot be"):
        judge_ratio(ratio(1.0, 0.01), -1)
