"""One way of quantizing a model, kept so that it can be built for any choice of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from edgekit.core.quant import QuantConstraints, QuantScheme
from edgekit.quantization.calibration import Calibration
from edgekit.quantization.insertion import insert_qdq
from edgekit.quantization.parameters import (
    QuantParameters,
    WeightParameters,
    compute_parameters,
)
from edgekit.quantization.place import place
from edgekit.quantization.placement import Placement
from edgekit.quantization.range_rules import Method


@dataclass(frozen=True, slots=True)
class Quantized:
    """A QDQ graph with what it was made from."""

    model: ir.Model
    placement: Placement
    parameters: QuantParameters


@dataclass(frozen=True, slots=True)
class Candidate:
    """A float graph with everything that decides its quantized form.

    Attributes:
        name: What was done, for the table.
        model: Float graph, maybe equalized or with corrected biases.
        calibration: Statistics of its values; None when activations stay float.
        method: How ranges are chosen.
        percentile: For the method of that name.
        weights: Weights that are not rounded to nearest, by name of the layer.
    """

    name: str
    model: ir.Model
    calibration: Calibration | None
    method: Method
    percentile: float = 99.99
    weights: Mapping[str, WeightParameters] = field(default_factory=dict)

    def build(self, scheme: QuantScheme, constraints: QuantConstraints) -> Quantized:
        """The QDQ graph for a scheme."""
        placement = place(self.model, scheme, constraints)
        ranges = (
            {}
            if self.calibration is None
            else self.calibration.ranges(self.method, placement, self.percentile)
        )
        parameters = compute_parameters(self.model, placement, ranges, self.weights)
        return Quantized(insert_qdq(self.model, placement, parameters), placement, parameters)
