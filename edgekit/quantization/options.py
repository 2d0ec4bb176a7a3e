"""Options of post-training quantization as a project states them; imports no framework."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.core.model_base import FrozenModel
from edgekit.core.quant import SCHEMES, LayerOverride, QuantScheme


class QuantizeOptions(FrozenModel):
    """Options of post-training quantization, as a project states them."""

    scheme: Literal["int8"] = Field("int8", description="What is quantized, and how finely.")
    method: Literal["auto", "minmax", "moving-average", "percentile", "mse", "entropy"] = Field(
        "auto", description="How activation ranges are chosen; auto compares all methods."
    )
    samples: int = Field(256, ge=1, description="Calibration samples, spread over the set.")
    batch: int = Field(32, ge=1, description="Samples in one calibration run.")
    equalize: bool = Field(False, description="Also try cross-layer equalization.")
    bias_correction: bool = Field(False, description="Also try bias correction.")
    adaround: bool = Field(False, description="Also try AdaRound.")
    keep_float: tuple[str, ...] = Field(
        (), description="Patterns of node names that stay in float32."
    )
    overrides: tuple[LayerOverride, ...] = Field((), description="Other choices by layer name.")

    def quant_scheme(self) -> QuantScheme:
        """The scheme with the overrides of these options."""
        changes = {"keep_float": self.keep_float, "overrides": self.overrides}
        return QuantScheme.model_validate({**SCHEMES[self.scheme].model_dump(), **changes})
