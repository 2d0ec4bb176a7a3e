from __future__ import annotations

import re

import pytest

from edgekit.targets.coreml.estimate import Features, LatencyEstimate, estimate, valid_range
from edgekit.targets.coreml.estimate.fit import published_fit
from edgekit.targets.coreml.estimate.published import published


def fitted(model: str) -> Features:
    (item,) = (item for item in published().latencies if item.model == model)
    return item.features


def test_an_estimate_is_the_fitted_sum() -> None:
    features = Features(macs=10**9, activation_bytes=20 * 10**6, weight_bytes=15 * 10**6)
    found = published_fit().coefficients
    ms = (
        found.base_ms
        + found.ms_per_gmac
        + 20 * found.ms_per_activation_mb
        + 15 * found.ms_per_weight_mb
    )
    made = estimate(features)
    assert made.ms == pytest.approx(ms)
    assert made.extrapolates == ()


def test_the_bounds_are_the_errors_on_left_out_networks() -> None:
    made = estimate(fitted("FastViT-SA12"))
    least, largest = published_fit().ratio_range
    assert made.low == pytest.approx(made.ms / largest)
    assert made.high == pytest.approx(made.ms / least)
    assert made.low < made.ms < made.high


def test_no_fitted_network_is_an_extrapolation() -> None:
    for item in published().of_role("fit"):
        assert estimate(item.features).extrapolates == (), item.model


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"weight_bytes": 3 * 10**6}, r"weights are 3 MB, fewer than the 4\.14"),
        ({"macs": 10**11}, r"multiply-accumulates are 100 G, more than the 0\.275 to 10\.1 G"),
        ({"activation_bytes": 10**9}, r"activations are 1000 MB, more than"),
        ({"weight_bytes": 10**9}, r"weights are 1000 MB, more than"),
        ({"macs": 7 * 10**9}, r"multiply-accumulates for each byte of weights are 304, more"),
        ({"activation_bytes": 9 * 10**7}, r"activations for each byte of weights are 3\.91, more"),
    ],
)
def test_extrapolation_is_said_in_words(change: dict[str, int], words: str) -> None:
    features = fitted("FastViT-SA12").model_copy(update=change)
    made = estimate(features)
    assert any(re.search(words, text) for text in made.extrapolates), made.extrapolates
    assert made.extrapolates[0] in made.in_words()
    assert "These errors do not hold here" in made.in_words()


def test_no_estimate_is_below_the_peak_of_the_engine() -> None:
    features = fitted("FastViT-SA12").model_copy(update={"macs": 11 * 10**10})
    made = estimate(features)
    # 11e10 multiply-accumulates are 22e10 operations, at 11e12 operations a second 20 ms.
    assert made.ms == pytest.approx(20)
    assert made.low == pytest.approx(20)
    assert made.high == pytest.approx(20 / published_fit().ratio_range[0])
    assert any("20.00 ms that its products take" in text for text in made.extrapolates)


def test_the_words_carry_the_conditions() -> None:
    made = estimate(fitted("RepViT-M1.0"))
    words = made.in_words()
    fit = published_fit()
    for part in (
        "Estimated, not measured",
        f"{made.ms:.2f} ms on A14 (iPhone 12, iPhone 12 Pro) in float16",
        f"{fit.in_sample_error:.0%}",
        f"{fit.left_out_error:.0%} on a family",
        f"{fit.worst.mean_error:.0%} on the worst, {fit.worst.family}",
        f"{made.low:.2f} to {made.high:.2f} ms",
        "if the Neural Engine runs every op",
    ):
        assert part in words
    assert "do not hold" not in words
    assert isinstance(made, LatencyEstimate)


def test_a_network_without_weights_gets_an_estimate() -> None:
    made = estimate(Features(macs=0, activation_bytes=1000, weight_bytes=0))
    assert made.ms > 0
    assert len(made.extrapolates) >= 3


def test_the_range_is_said_in_words() -> None:
    (macs, *_rest) = valid_range()
    sizes = [item.features.macs / 1e9 for item in published().of_role("fit")]
    assert macs == f"multiply-accumulates: {min(sizes):.3g} to {max(sizes):.3g} G"
