"""Options of the Core ML lowering."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.core.batch_sizes import BatchSizes

type Compute = Literal["float16", "float32"]

DEPLOYMENT_TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26")
"""Oldest systems that a package can be made for; newer ones have more operators."""

DEFAULT_BATCHES = BatchSizes(low=1, high=64)
"""Sizes of an open batch where none are chosen."""

_OPSETS = {"iOS15": 6, "iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}


@dataclass(frozen=True, slots=True)
class LoweringOptions:
    """Options of the Core ML lowering.

    Attributes:
        deployment_target: Oldest system that can load the package, one of
            `DEPLOYMENT_TARGETS`.
        compute: Type of floats within the program.
        image_input: Whether the first input takes images, its preprocessing inside the model.
        batches: Sizes of an open batch.
    """

    deployment_target: str = "iOS17"
    compute: Compute = "float16"
    image_input: bool = False
    batches: BatchSizes = DEFAULT_BATCHES

    def at_least(self, deployment_target: str) -> bool:
        """Whether a feature of ``deployment_target`` can be used."""
        return _OPSETS[self.deployment_target] >= _OPSETS[deployment_target]
