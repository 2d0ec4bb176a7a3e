"""Options of quantization as a project states them; imports no framework."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgekit.core.model_base import FrozenModel
from edgekit.core.quant import Fit, LayerOverride, QuantScheme, ScaleFormat, custom_scheme


class QuantizeOptions(FrozenModel):
    """Options of post-training quantization, as a project states them."""

    method: Literal["auto", "minmax", "moving-average", "percentile", "mse", "entropy"] = Field(
        "auto", description="How activation ranges are chosen; auto compares all methods."
    )
    percentile: float = Field(
        99.99, gt=50, le=100, description="Share of elements that percentile keeps, in percent."
    )
    samples: int = Field(256, ge=1, description="Calibration samples, spread over the set.")
    batch: int = Field(32, ge=1, description="Samples in one calibration run.")
    equalize: bool = Field(False, description="Also try cross-layer equalization.")
    bias_correction: bool = Field(False, description="Also try bias correction.")
    adaround: bool = Field(False, description="Also try AdaRound.")
    accuracy_samples: int = Field(
        1024,
        ge=0,
        description="Further samples of a labelled calibration set, none of them calibrated with, "
        "that decide between what is tried; 0 leaves it to the signal-to-noise ratio.",
    )
    sensitivity: bool = Field(
        False, description="Measure how much each layer alone suffers, for the report."
    )
    max_drop: float | None = Field(
        None,
        ge=0,
        description="Loss of top-1 accuracy that is accepted, in percentage points; layers are "
        "left out of 8 bits, as few as possible, until it is met.",
    )
    fallback: Literal["float", "int16"] = Field(
        "float", description="What layers become that cost too much accuracy."
    )
    keep_float: tuple[str, ...] = Field(
        (), description="Patterns of node names that stay in float32."
    )
    overrides: tuple[LayerOverride, ...] = Field((), description="Other choices by layer name.")
    scale_format: ScaleFormat | None = Field(
        None,
        description="Number format that represents every scale exactly: float32, float16 or "
        "bfloat16; by default float16 where a target computes in float16, and float32 else. "
        "Scales of blocks are bfloat16 always.",
    )
    weight_fit: Fit | None = Field(
        None,
        description="How scales of weights are chosen: to reach the largest weight (largest), or "
        "for the least squared error (mse); by default mse for int4-weights and largest else.",
    )

    def quant_scheme(self, name: str) -> QuantScheme:
        """The scheme called ``name`` with the choices of these options.

        Raises:
            ConfigError: If there is none, or the choices contradict each other.
        """
        return custom_scheme(
            name,
            keep_float=self.keep_float,
            overrides=self.overrides,
            scale_format=self.scale_format or "float32",
            weight_fit=self.weight_fit,
        )
