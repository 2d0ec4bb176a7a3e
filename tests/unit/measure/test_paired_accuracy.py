"""Paired accuracy: against scipy, and against what its interval promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from edgekit.core.paired_accuracy import PairedAccuracy, mcnemar_p


def test_counts_flips_both_ways() -> None:
    found = PairedAccuracy.of([0, 1, 2, 3, 4], [0, 2, 1, 3, 0], [0, 1, 1, 3, 1])
    assert (found.n, found.gained, found.lost, found.changed) == (5, 1, 1, 3)
    assert found.difference == 0
    assert found.p == 1


@given(st.integers(0, 300), st.integers(0, 300))
def test_p_is_that_of_the_binomial_test(gained: int, lost: int) -> None:
    wanted = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar_p(gained, lost) == pytest.approx(wanted, rel=1e-9)


def test_p_of_many_flips() -> None:
    wanted = binomtest(2000, 4150).pvalue
    assert mcnemar_p(2000, 2150) == pytest.approx(wanted, rel=1e-6)
    assert mcnemar_p(0, 5000) == 0


@pytest.mark.parametrize(("n", "gain", "loss"), [(200, 0.05, 0.05), (500, 0.01, 0.04)])
def test_interval_covers_the_true_difference(n: int, gain: float, loss: float) -> None:
    random = np.random.default_rng(0)
    hits = 0
    for counts in random.multinomial(n, [gain, loss, 1 - gain - loss], size=2000):
        found = PairedAccuracy.of_flips(n, int(counts[0]), int(counts[1]), int(counts[:2].sum()))
        hits += found.low <= gain - loss <= found.high
    assert 0.935 <= hits / 2000 <= 0.975


def test_refuses_what_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="3 and 2 predictions of 3 samples cannot be paired"):
        PairedAccuracy.of([0, 1, 2], [0, 1], [0, 1, 2])
    with pytest.raises(ValueError, match="cannot be paired"):
        PairedAccuracy.of([], [], [])
    with pytest.raises(ValueError, match="cannot be"):
        PairedAccuracy.of_flips(10, 6, 6, 12)
    with pytest.raises(ValueError, match="cannot be"):
        mcnemar_p(-1, 2)
