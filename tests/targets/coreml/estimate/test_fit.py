"""The fit against scipy, its errors worked out again, and the stored figures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy.optimize import nnls

from edgekit.targets.coreml.estimate.features import Features
from edgekit.targets.coreml.estimate.fit import Coefficients, fit, published_fit, solve
from edgekit.targets.coreml.estimate.published import PublishedLatency, published

type Array = npt.NDArray[np.float64]


def design(points: Sequence[PublishedLatency]) -> Array:
    """Rows of [1, GMAC, MB of activations, MB of weights]."""
    return np.array(
        [
            [
                1,
                item.features.macs / 1e9,
                item.features.activation_bytes / 1e6,
                item.features.weight_bytes / 1e6,
            ]
            for item in points
        ]
    )


def latencies(points: Sequence[PublishedLatency]) -> Array:
    return np.array([item.latency_ms for item in points])


def refit(points: Sequence[PublishedLatency]) -> Array:
    weighted = design(points) / latencies(points)[:, None]
    return np.asarray(nnls(weighted, np.ones(len(points)))[0])


def as_array(coefficients: Coefficients) -> Array:
    return np.array(list(coefficients.model_dump().values()))


def point(family: str, features: Features, ms: float) -> PublishedLatency:
    return PublishedLatency(
        model="",
        architecture="",
        family=family,
        input_size=1,
        latency_ms=ms,
        device="",
        source="",
        role="fit",
        features=features,
    )


def random_features(rng: np.random.Generator) -> Features:
    macs, activations, weights = rng.integers(10**6, 10**9, 3).tolist()
    return Features(macs=macs, activation_bytes=activations, weight_bytes=weights)


def test_coefficients_are_those_of_scipy() -> None:
    points = published().of_role("fit")
    found = as_array(published_fit().coefficients)
    assert found == pytest.approx(refit(points), rel=1e-6, abs=1e-9)
    assert (found >= 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_random_problems_have_the_solutions_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = [point("f", random_features(rng), ms) for ms in rng.uniform(0.5, 9, size=9).tolist()]
    assert as_array(solve(points)) == pytest.approx(refit(points), rel=1e-6, abs=1e-9)


def test_known_costs_are_found() -> None:
    costs = Coefficients(
        base_ms=0.5, ms_per_gmac=0.2, ms_per_activation_mb=0.03, ms_per_weight_mb=0.004
    )
    rng = np.random.default_rng(0)
    points = []
    for family in "abc":
        for _ in range(4):
            features = random_features(rng)
            points.append(point(family, features, costs.latency_ms(features)))
    found = fit(points)
    assert as_array(found.coefficients) == pytest.approx(as_array(costs), rel=1e-6)
    assert found.in_sample_error < 1e-6
    assert found.left_out_error < 1e-6


def test_errors_worked_out_again() -> None:
    points = published().of_role("fit")
    whole = published_fit()
    relative = design(points) @ refit(points) / latencies(points)
    assert whole.in_sample_error == pytest.approx(np.abs(relative - 1).mean(), rel=1e-6)
    means, ratios = {}, []
    for family in {item.family for item in points}:
        rest = [item for item in points if item.family != family]
        unseen = [item for item in points if item.family == family]
        ratio = design(unseen) @ refit(rest) / latencies(unseen)
        means[family] = float(np.abs(ratio - 1).mean())
        ratios += list(ratio)
    assert {item.family: item.mean_error for item in whole.families} == pytest.approx(means)
    assert whole.left_out_error == pytest.approx(np.mean(list(means.values())))
    assert whole.worst.family == max(means, key=lambda family: means[family])
    assert whole.ratio_range == pytest.approx((min(ratios), max(ratios)))


def test_networks_for_checking_do_not_enter_the_fit() -> None:
    checks = published().of_role("check")
    fitted = {item.family for item in published().of_role("fit")}
    assert checks
    assert fitted.isdisjoint(item.family for item in checks)
    estimates = design(checks) @ as_array(published_fit().coefficients)
    # The figures are published with one decimal; twice the error of a left-out family is ample.
    allowed = 2 * published_fit().left_out_error
    assert estimates == pytest.approx(latencies(checks), rel=allowed)


def test_every_figure_names_its_page() -> None:
    file = published()
    assert len({item.model for item in file.latencies}) == len(file.latencies)
    sources = [item.source for item in file.latencies] + [item.source for item in file.left_out]
    assert all(source.startswith("https://") for source in sources)
    assert all("iPhone 12" in item.device for item in file.latencies)


@pytest.mark.parametrize("architecture", ["mobileone_s0", "repvit_m0_9"])
def test_stored_counts_are_those_of_the_architecture(architecture: str) -> None:
    pytest.importorskip("timm")
    from benchmarks.apple_latency import counted

    (item,) = (item for item in published().latencies if item.architecture == architecture)
    assert counted(item) == item.features
