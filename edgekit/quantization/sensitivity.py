"""How much each layer suffers from quantization: one layer at a time, the rest in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import onnx_ir as ir

from edgekit.core.model_base import FrozenModel
from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.quant import QuantConstraints, QuantScheme
from edgekit.graph.values import Array
from edgekit.quantization.calibration import Calibration
from edgekit.quantization.insertion import insert_qdq
from edgekit.quantization.parameters import compute_parameters
from edgekit.quantization.place import place
from edgekit.quantization.placement import Placement
from edgekit.quantization.quality import Metric, measure_sqnr
from edgekit.quantization.range_rules import Method


class LayerSensitivity(FrozenModel):
    """Effect of quantizing one layer alone: its input, its weights and its output.

    Attributes:
        layer: Name of the op's node.
        op_type: Its type.
        sqnr_db: Signal to noise ratio of the model's outputs; lower is worse.
        metric: Accuracy of the model; None when no metric was given.
    """

    layer: str
    op_type: str
    sqnr_db: float
    metric: float | None = None


def analyse_sensitivity(
    model: ir.Model,
    scheme: QuantScheme,
    full: Placement,
    calibration: Calibration,
    method: Method,
    feeds: Callable[[], Iterable[Mapping[str, Array]]],
    *,
    constraints: QuantConstraints | None = None,
    metric: Metric | None = None,
    percentile: float = 99.99,
    progress: Progress | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Quantizes every op that the full placement computes on integers, one at a time.

    Ops that only move data are no layers: they follow their neighbours.

    Args:
        model: Float graph, prepared; not modified.
        scheme: What is asked for.
        full: Placement of the whole graph.
        calibration: Statistics for ``full``.
        method: How ranges are chosen.
        feeds: Gives the batches to compare outputs on, again for each layer.
        constraints: What the target demands.
        metric: Accuracy of a graph, measured for each layer too.
        percentile: For the method of that name.
        progress: Advances by one a layer.

    Returns:
        The most sensitive layer first.

    Raises:
        InputError: If there are no batches.
    """
    constraints = constraints or QuantConstraints()
    progress = progress or SilentProgress()
    op_types = {node.name: node.op_type for node in model.graph}
    layers = [
        (name, op_types[name])
        for name in full.integer_units or tuple(layer.layer for layer in full.layers)
        if op_types[name] not in constraints.movement_ops
    ]
    found = []
    progress.start("Sensitivity", len(layers))
    for name, op_type in layers:
        placement = place(model, scheme, constraints, only={name})
        ranges = calibration.ranges(method, placement, percentile)
        quantized = insert_qdq(model, placement, compute_parameters(model, placement, ranges))
        (sqnr,) = measure_sqnr(model, [quantized], feeds())
        accuracy = metric(quantized) if metric is not None else None
        found.append(LayerSensitivity(layer=name, op_type=op_type, sqnr_db=sqnr, metric=accuracy))
        progress.advance(note=f"{name} {sqnr:.1f} dB")
    progress.finish()
    return tuple(sorted(found, key=_order))


def _order(item: LayerSensitivity) -> tuple[float, float]:
    """By accuracy where it was measured, then by SQNR."""
    return (0.0 if item.metric is None else item.metric, item.sqnr_db)
