"""Latencies that others measured on devices with an A14, beside the counts of those networks.

`published.json` holds the figures and where they stand; `benchmarks/apple_latency.py` counts the
features of the same architectures in timm and writes them there.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Literal

from pydantic import Field

from edgekit.core.model_base import FrozenModel
from edgekit.targets.coreml.estimate.features import Features

FILE = "published.json"


class PublishedLatency(FrozenModel):
    """One published figure.

    Attributes:
        model: Name in the source.
        architecture: Name in timm.
        family: Networks of one design, which are left out together when errors are estimated.
        input_size: Height and width of the image, in pixels.
        latency_ms: Published latency at batch 1.
        device: That it was measured on.
        source: Address of the page that states it.
        role: ``"fit"``: the coefficients follow from it; ``"check"``: it is only compared.
        features: Counts of the reparameterized architecture.
    """

    model: str
    architecture: str
    family: str
    input_size: int
    latency_ms: float = Field(gt=0)
    device: str
    source: str
    role: Literal["fit", "check"]
    features: Features


class LeftOut(FrozenModel):
    """A published figure that is not used, with the reason."""

    model: str
    latency_ms: float
    source: str
    reason: str


class Published(FrozenModel):
    """All figures, measured with Core ML in float16 at batch 1.

    Attributes:
        chip: That all devices have.
        precision: Of the measured networks.
        latencies: Figures that are used.
        left_out: Figures that are not.
    """

    chip: str
    precision: str
    latencies: tuple[PublishedLatency, ...]
    left_out: tuple[LeftOut, ...]

    def of_role(self, role: Literal["fit", "check"]) -> tuple[PublishedLatency, ...]:
        """Figures of one role, in the order of the file."""
        return tuple(item for item in self.latencies if item.role == role)


@functools.cache
def published() -> Published:
    """The figures of the file beside this module."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return Published.model_validate_json(text)
