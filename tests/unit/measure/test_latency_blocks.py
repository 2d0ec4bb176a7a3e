"""Blocks in turn: the ratio of what takes known times by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekit.measure import latency
from edgekit.measure.latency_blocks import block_ratio


class Clock:
    """Tells the time that the work before has taken."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        return self.now_ns

    def work(self, ns: int) -> Callable[[], None]:
        def run() -> None:
            self.now_ns += ns

        return run


def test_the_ratio_is_that_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(latency, "perf_counter_ns", clock.perf_counter_ns)
    assert block_ratio(clock.work(2_000), clock.work(8_000), runs=5) == pytest.approx(0.25)
    assert block_ratio(clock.work(2_000), clock.work(2_000), runs=5) == pytest.approx(1)


def test_both_run_equally_often_and_in_turn() -> None:
    calls: list[str] = []
    block_ratio(lambda: calls.append("a"), lambda: calls.append("b"), runs=2, blocks=2)
    assert "".join(calls) == "bbb" + "aaa" + "aaa" + "bbb"


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 blocks cannot be measured"):
        block_ratio(lambda: None, lambda: None, runs=1, blocks=0)
    with pytest.raises(ValueError, match="0 runs"):
        block_ratio(lambda: None, lambda: None, runs=0)
