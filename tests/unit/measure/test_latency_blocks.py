"""Blocks in turn: the ratio of what takes known times."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.measure.latency_blocks import block_ratio


def spin(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.sort(np.random.default_rng(0).random(size))


def test_the_ratio_is_that_of_the_work() -> None:
    found = block_ratio(lambda: spin(20_000), lambda: spin(80_000), runs=5)
    assert 0.15 < found < 0.4
    assert block_ratio(lambda: spin(20_000), lambda: spin(20_000), 5) == pytest.approx(1, abs=0.2)


def test_both_run_equally_often_and_in_turn() -> None:
    calls: list[str] = []
    block_ratio(lambda: calls.append("a"), lambda: calls.append("b"), runs=2, blocks=2)
    assert "".join(calls) == "bbb" + "aaa" + "aaa" + "bbb"


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 blocks cannot be measured"):
        block_ratio(lambda: None, lambda: None, runs=1, blocks=0)
    with pytest.raises(ValueError, match="0 runs"):
        block_ratio(lambda: None, lambda: None, runs=0)
