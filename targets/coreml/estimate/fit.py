"""Coefficients of the latency estimate, and what it errs by on networks that it has not seen.

``ms = base + a * GMAC + b * MB of activations + c * MB of weights``, all coefficients at least 0,
with the least sum of squared relative errors over the published figures (non-negative least
squares; Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23). The errors are
those on the fitted networks, and those on each family by a fit without that family.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from edgekit.core.model_base import FrozenModel
from edgekit.targets.coreml.estimate.features import Features
from edgekit.targets.coreml.estimate.published import PublishedLatency, published

type Array = npt.NDArray[np.float64]

GIGA = 1e9
MEGA = 1e6


class Coefficients(FrozenModel):
    """Costs in milliseconds; a megabyte is 10^6 bytes."""

    base_ms: float
    ms_per_gmac: float
    ms_per_activation_mb: float
    ms_per_weight_mb: float

    def latency_ms(self, features: Features) -> float:
        """Latency of a network with these features."""
        costs = (
            self.base_ms, self.ms_per_gmac, self.ms_per_activation_mb, self.ms_per_weight_mb
        )  # fmt: skip
        return sum(cost * amount for cost, amount in zip(costs, _amounts(features), strict=True))


class FamilyError(FrozenModel):
    """Errors on one family by a fit of all others.

    Attributes:
        family: That was left out.
        mean_error: Mean absolute relative error over its networks.
        ratios: Estimate by published latency, for each network in the order of the file.
    """

    family: str
    mean_error: float
    ratios: tuple[float, ...]


class Fit(FrozenModel):
    """Coefficients and their errors, which are shares: 0.1 is 10 percent.

    Attributes:
        coefficients: From all networks.
        in_sample_error: Mean absolute relative error on the networks that were fitted.
        families: Errors on each family, by a fit without it.
    """

    coefficients: Coefficients
    in_sample_error: float
    families: tuple[FamilyError, ...]

    @property
    def left_out_error(self) -> float:
        """Mean of the families' mean errors."""
        return float(np.mean([item.mean_error for item in self.families]))

    @property
    def worst(self) -> FamilyError:
        """The family with the largest mean error."""
        return max(self.families, key=lambda item: item.mean_error)

    @property
    def ratio_range(self) -> tuple[float, float]:
        """Least and largest estimate by published latency over all networks left out."""
        ratios = [ratio for item in self.families for ratio in item.ratios]
        return min(ratios), max(ratios)


def fit(points: Sequence[PublishedLatency]) -> Fit:
    """Fits figures of at least two families."""
    coefficients = solve(points)
    families = []
    for family in dict.fromkeys(item.family for item in points):
        others = solve([item for item in points if item.family != family])
        ratios = ratios_of(others, [item for item in points if item.family == family])
        error = float(np.mean(np.abs(np.array(ratios) - 1)))
        families.append(FamilyError(family=family, mean_error=error, ratios=ratios))
    return Fit(
        coefficients=coefficients,
        in_sample_error=float(np.mean(np.abs(np.array(ratios_of(coefficients, points)) - 1))),
        families=tuple(families),
    )


def solve(points: Sequence[PublishedLatency]) -> Coefficients:
    """Coefficients with the least sum of squared relative errors."""
    rows = [np.array(_amounts(item.features)) / item.latency_ms for item in points]
    return Coefficients.model_validate(
        dict(zip(Coefficients.model_fields, _non_negative(np.stack(rows)), strict=True))
    )


def ratios_of(coefficients: Coefficients, points: Sequence[PublishedLatency]) -> tuple[float, ...]:
    """Estimate by published latency of each figure."""
    return tuple(coefficients.latency_ms(item.features) / item.latency_ms for item in points)


@functools.cache
def published_fit() -> Fit:
    """The fit of the published figures that are meant for it."""
    return fit(published().of_role("fit"))


def _amounts(features: Features) -> tuple[float, float, float, float]:
    return (
        1.0,
        features.macs / GIGA,
        features.activation_bytes / MEGA,
        features.weight_bytes / MEGA,
    )


def _non_negative(matrix: Array) -> Array:
    """The x >= 0 with the least ``|matrix @ x - 1|``.

    The unconstrained solution over the columns that are positive in the optimum is the optimum,
    so trying every set of columns finds it; four columns have 15 sets.

    Args:
        matrix: float64 [rows, columns].
    """
    columns = matrix.shape[1]
    ones = np.ones(matrix.shape[0])
    best, least = np.zeros(columns), float(matrix.shape[0])
    for size in range(1, columns + 1):
        for chosen in itertools.combinations(range(columns), size):
            part = np.linalg.lstsq(matrix[:, chosen], ones, rcond=None)[0]
            if (part < 0).any():
                continue
            error = float(np.sum((matrix[:, chosen] @ part - ones) ** 2))
            if error < least:
                best, least = np.zeros(columns), error
                best[list(chosen)] = part
    return best
