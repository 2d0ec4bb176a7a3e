"""Options and outcome of post-training quantization."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx_ir as ir
from pydantic import Field

from edgekit.core.model_base import FrozenModel
from edgekit.core.stage import Note
from edgekit.quantization.mixed_precision import Fallback, MixedPrecision
from edgekit.quantization.parameters import QuantParameters, ValueRange
from edgekit.quantization.placement import Placement
from edgekit.quantization.range_rules import Method
from edgekit.quantization.sensitivity import LayerSensitivity


class PtqOptions(FrozenModel):
    """How parameters are found."""

    method: Method | Literal["auto"] = Field(
        "auto", description="How activation ranges are chosen; auto compares all methods."
    )
    percentile: float = Field(
        99.99, gt=50, le=100, description="Share of elements that percentile keeps, in percent."
    )
    moving_average_rate: float = Field(
        0.1, gt=0, le=1, description="Weight of a new batch in the moving average."
    )
    hold_out_every: int = Field(
        4, ge=2, description="Every so many calibration batches one judges instead of fitting."
    )
    equalize: bool = Field(False, description="Also try cross-layer equalization.")
    relu6_as_relu: bool = Field(
        False, description="Equalize across Clip(0, 6) as well, which then becomes Relu."
    )
    bias_correction: bool = Field(False, description="Also try bias correction.")
    adaround: bool = Field(False, description="Also try AdaRound.")
    adaround_iterations: int = Field(1000, ge=1, description="Optimization steps a layer.")
    adaround_samples: int = Field(256, ge=1, description="Samples kept for a layer.")
    sensitivity: bool = Field(False, description="Measure the effect of each layer alone.")
    max_drop: float | None = Field(
        None, ge=0, description="Loss of the metric that is accepted, in the metric's own unit."
    )
    fallback: Fallback = Field(
        "float", description="What layers become that cost too much accuracy."
    )
    state: Path | None = Field(
        None, description="File that keeps calibration statistics, to continue after a stop."
    )
    seed: int = Field(0, description="Seed of AdaRound.")


class Trial(FrozenModel):
    """One row of the table of what was tried.

    Attributes:
        name: What was done, for example ``"mse+equalized"``.
        sqnr_db: Signal to noise ratio of the outputs on held-out data; None: not measured.
        metric: Accuracy; None when no metric was given.
        chosen: True for the row whose graph is the result.
    """

    name: str
    sqnr_db: float | None
    metric: float | None = None
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class PtqResult:
    """A quantized graph and how it came about.

    Attributes:
        model: QDQ graph.
        placement: Where it is quantized and what stays float.
        parameters: Its scales and integers.
        table: Everything that was tried, in order.
        sensitivity: Effect of each layer alone, the worst first; empty unless asked for.
        mixed_precision: The search for layers to leave; None when there was none.
        float_metric: The metric of the float graph; None when no metric was given.
        notes: Reasons for the report.
        seen: Lowest and highest element of each calibrated group in the calibration data; empty
            where activations stay float.
    """

    model: ir.Model
    placement: Placement
    parameters: QuantParameters
    table: tuple[Trial, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    mixed_precision: MixedPrecision | None = None
    float_metric: float | None = None
    notes: tuple[Note, ...] = ()
    seen: Mapping[str, ValueRange] = field(default_factory=dict)
