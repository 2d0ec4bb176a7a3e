"""The verdict on accuracy, against what its error rates promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.paired_accuracy import PairedAccuracy
from edgekit.gate.accuracy import judge_accuracy
from edgekit.gate.verdict import Verdict

CONFIDENCE = 0.98


def paired(n: int, gained: int, lost: int) -> PairedAccuracy:
    return PairedAccuracy.of_flips(n, gained, lost, gained + lost, CONFIDENCE)


@pytest.mark.parametrize(
    ("n", "gained", "lost", "margin", "verdict"),
    [
        (1000, 0, 0, 0.0, Verdict.PASS),
        (1000, 0, 0, 0.005, Verdict.PASS),
        (100, 0, 0, 0.03, Verdict.PASS),
        (100, 0, 0, 0.005, Verdict.CANNOT_TELL),
        (100, 0, 0, 0.0, Verdict.CANNOT_TELL),
        (10_000, 20, 25, 0.005, Verdict.PASS),
        (10_000, 100, 40, 0.0, Verdict.PASS),
        (10_000, 20, 130, 0.005, Verdict.FAIL),
        (1000, 10, 40, 0.005, Verdict.FAIL),
        (1000, 10, 25, 0.005, Verdict.CANNOT_TELL),
        (1000, 10, 12, 0.0, Verdict.CANNOT_TELL),
        (20, 0, 1, 0.005, Verdict.CANNOT_TELL),
    ],
)
def test_verdicts(n: int, gained: int, lost: int, margin: float, verdict: Verdict) -> None:
    assert judge_accuracy(paired(n, gained, lost), margin).verdict is verdict


def test_no_change_on_a_handful_of_samples_proves_nothing() -> None:
    # A model that is 5 points worse keeps all of 20 predictions in a third of the cases.
    judged = judge_accuracy(paired(20, 0, 0), 0.005)
    assert judged.verdict is Verdict.CANNOT_TELL
    assert judged.needed is not None
    assert judge_accuracy(paired(judged.needed, 0, 0), 0.005).verdict is Verdict.PASS
    assert judge_accuracy(paired(judged.needed - 10, 0, 0), 0.005).verdict is not Verdict.PASS
    # The same file predicts the same.
    assert judge_accuracy(paired(20, 0, 0), 0.005, identical=True).verdict is Verdict.PASS
    # What the samples can show is told: 2.33 + 1.28 standard errors of half a flip a cell.
    assert judged.minimum_effect == pytest.approx(0.005 + (2.326 + 1.282) / 22, rel=1e-3)


def test_a_file_that_predicts_otherwise_is_judged_as_any_other() -> None:
    assert judge_accuracy(paired(1000, 10, 40), 0.005, identical=True).verdict is Verdict.FAIL


def test_the_samples_needed_would_tell() -> None:
    few = paired(1000, 10, 25)
    needed = judge_accuracy(few, 0.005).needed
    assert needed is not None
    scale = needed * 1.1 / 1000
    more = paired(round(1000 * scale), round(10 * scale), round(25 * scale))
    assert judge_accuracy(more, 0.005).verdict is Verdict.FAIL


def test_no_number_of_samples_tells_what_lies_on_the_margin() -> None:
    judged = judge_accuracy(paired(1000, 10, 15), 0.005)
    assert (judged.verdict, judged.needed) == (Verdict.CANNOT_TELL, None)


def test_a_verdict_needs_no_more_samples() -> None:
    assert judge_accuracy(paired(10_000, 20, 130), 0.005).needed is None


@pytest.mark.parametrize("margin", [0.0, 0.005])
def test_false_alarms_are_as_rare_as_promised(margin: float) -> None:
    # The worst true state that must not fail: a loss of exactly the margin.
    rng = np.random.default_rng(0)
    n, flips = 4800, 0.02
    shares = [(flips - margin) / 2, (flips + margin) / 2, 1 - flips]
    counts = rng.multinomial(n, shares, size=3000)
    said = [judge_accuracy(paired(n, int(g), int(k)), margin).verdict for g, k, _ in counts]
    # 1 % is promised; 1.6 % of 3000 has a probability of 1e-3.
    assert said.count(Verdict.FAIL) / len(said) < 0.016


def test_the_minimum_effect_is_found_in_nine_of_ten_cases() -> None:
    rng = np.random.default_rng(0)
    n, flips, margin = 4800, 0.02, 0.005
    effect = judge_accuracy(paired(n, 48, 48), margin).minimum_effect
    shares = [(flips - effect) / 2, (flips + effect) / 2, 1 - flips]
    counts = rng.multinomial(n, shares, size=1000)
    said = [judge_accuracy(paired(n, int(g), int(k)), margin).verdict for g, k, _ in counts]
    assert 0.87 < said.count(Verdict.FAIL) / len(said) < 0.94


@given(st.integers(1, 5000), st.data())
def test_more_losses_never_make_it_better(n: int, data: st.DataObject) -> None:
    gained = data.draw(st.integers(0, n // 2))
    lost = data.draw(st.integers(0, n - gained - 1))
    order = [Verdict.PASS, Verdict.CANNOT_TELL, Verdict.FAIL]
    one, two = (
        order.index(judge_accuracy(paired(n, gained, count), 0.005).verdict)
        for count in (lost, lost + 1)
    )
    assert two >= one


def test_a_negative_margin_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a margin of -0\.1 cannot be"):
        judge_accuracy(paired(10, 0, 0), -0.1)
