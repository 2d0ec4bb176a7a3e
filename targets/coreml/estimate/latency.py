"""Estimate of the latency of a network on an iPhone with an A14, in float16.

An estimate is no measurement: it has a type of its own, carries its errors and its range, and
must not stand in a column of measured figures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgekit.core.model_base import FrozenModel
from edgekit.targets.coreml.estimate.features import Features
from edgekit.targets.coreml.estimate.fit import GIGA, MEGA, published_fit
from edgekit.targets.coreml.estimate.published import published

DEVICE = "A14 (iPhone 12, iPhone 12 Pro)"
PEAK_MACS_PER_MS = 11e12 / 2 / 1e3
"""The 11 trillion operations a second that Apple announced for the A14's Neural Engine (Apple
Event, October 2020), two of which are one multiply-accumulate."""


class LatencyEstimate(FrozenModel):
    """An estimated latency with all that must be said beside it; errors are shares.

    Attributes:
        ms: Estimated latency at batch 1, in milliseconds.
        low: Least latency, if the estimate errs as much as on any network of a left-out family.
        high: Largest latency, likewise.
        in_sample_error: Mean absolute relative error on the fitted networks.
        lofo_error: Mean absolute relative error on a family that the fit left out, mean over
            families.
        worst_family: The family with the largest of those errors.
        worst_family_error: That error.
        networks: How many networks were fitted.
        families: How many families they are of.
        extrapolates: Why the network is unlike the fitted ones, in words; empty when it is not.
        device: That the estimate is for.
        precision: Of the network.
    """

    ms: float
    low: float
    high: float
    in_sample_error: float
    lofo_error: float
    worst_family: str
    worst_family_error: float
    networks: int
    families: int
    extrapolates: tuple[str, ...]
    device: str = DEVICE
    precision: str = "float16"

    def in_words(self) -> str:
        """For reports: the figure with its conditions, in whole sentences."""
        text = (
            f"Estimated, not measured: {self.ms:.2f} ms on {self.device} in {self.precision}, "
            f"batch 1, if the Neural Engine runs every op. Fitted to {self.networks} published "
            f"latencies of {self.families} families of networks; mean error "
            f"{self.in_sample_error:.0%} on these, {self.lofo_error:.0%} on a family that the fit "
            f"has not seen ({self.worst_family_error:.0%} on the worst, {self.worst_family}), "
            f"whose largest errors give {self.low:.2f} to {self.high:.2f} ms."
        )
        if self.extrapolates:
            text += (
                " These errors do not hold here, since the network is unlike the fitted ones: "
                f"{'; '.join(self.extrapolates)}."
            )
        return text


@dataclass(frozen=True, slots=True)
class _Quantity:
    """Something whose range among the fitted networks bounds the estimate.

    The ratios are there because the fitted networks, all of them image classifiers of usual
    input sizes, do not tell the cost of a product from that of its weight.
    """

    name: str
    unit: str
    of: Callable[[Features], float]


_QUANTITIES = (
    _Quantity("multiply-accumulates", " G", lambda item: item.macs / GIGA),
    _Quantity("activations", " MB", lambda item: item.activation_bytes / MEGA),
    _Quantity("weights", " MB", lambda item: item.weight_bytes / MEGA),
    _Quantity(
        "multiply-accumulates for each byte of weights",
        "",
        lambda item: item.macs / max(item.weight_bytes, 1),
    ),
    _Quantity(
        "bytes of activations for each byte of weights",
        "",
        lambda item: item.activation_bytes / max(item.weight_bytes, 1),
    ),
)


def estimate(features: Features) -> LatencyEstimate:
    """Estimates the latency of a network from its counts.

    No figure is below the time of the multiply-accumulates at the engine's announced peak.

    Args:
        features: Of the float16 network, from `features_of_graph`.
    """
    fitted = published_fit()
    points = published().of_role("fit")
    sum_ms = fitted.coefficients.latency_ms(features)
    bound = features.macs / PEAK_MACS_PER_MS
    ms = max(sum_ms, bound)
    least, largest = fitted.ratio_range
    return LatencyEstimate(
        ms=ms,
        low=max(ms / largest, bound),
        high=ms / least,
        in_sample_error=fitted.in_sample_error,
        lofo_error=fitted.left_out_error,
        worst_family=fitted.worst.family,
        worst_family_error=fitted.worst.mean_error,
        networks=len(points),
        families=len(fitted.families),
        extrapolates=(
            *_extrapolations(features, [item.features for item in points]),
            *_below_peak(sum_ms, bound),
        ),
    )


def valid_range() -> tuple[str, ...]:
    """What the fitted networks span, in words; outside it an estimate extrapolates."""
    known = [item.features for item in published().of_role("fit")]
    return tuple(f"{quantity.name}: {_span(quantity, known)}" for quantity in _QUANTITIES)


def _below_peak(sum_ms: float, bound: float) -> tuple[str, ...]:
    if sum_ms >= bound:
        return ()
    reason = (
        f"the fit gives {sum_ms:.2f} ms, less than the {bound:.2f} ms that its products take at "
        "the engine's announced peak, which stands instead"
    )
    return (reason,)


def _extrapolations(features: Features, known: Sequence[Features]) -> tuple[str, ...]:
    found = []
    for quantity in _QUANTITIES:
        value = quantity.of(features)
        values = [quantity.of(item) for item in known]
        if min(values) <= value <= max(values):
            continue
        side = "fewer" if value < min(values) else "more"
        found.append(
            f"{quantity.name} are {_short(value)}{quantity.unit}, {side} than the "
            f"{_span(quantity, known)} of the fitted networks"
        )
    return tuple(found)


def _span(quantity: _Quantity, known: Sequence[Features]) -> str:
    values = [quantity.of(item) for item in known]
    return f"{_short(min(values))} to {_short(max(values))}{quantity.unit}"


def _short(value: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{float(f'{value:.3g}'):g}"
