"""How the weights and the bias of a layer are quantized."""

from __future__ import annotations

import numpy as np

from edgekit.core.quant import QuantConstraints, WeightScheme
from edgekit.core.stage import Note
from edgekit.graph.values import Array, constant_array, int_attribute
from edgekit.quantization.placement import BiasPlacement, LayerPlacement, Reader
from edgekit.quantization.units import Unit

_SMALLEST_SCALE, _LARGEST_SCALE = 2.0**-13, 65280.0
"""Of the largest weight; float16 has no normal numbers below 2**-14, which the scales of other
blocks must not reach."""


def place_layer(
    unit: Unit, scheme: WeightScheme, constraints: QuantConstraints, input_group: str = ""
) -> tuple[LayerPlacement | None, Note | None]:
    """Decides on the weights of a unit.

    Args:
        unit: Any unit.
        scheme: What is asked for.
        constraints: Which layers have kernels for blockwise weights.
        input_group: Group of the layer's input; empty when activations stay float.

    Returns:
        None for a unit without constant weights; and a note where something else than the
        scheme asks for was chosen.
    """
    weight, axis = unit.weight, unit.weight_axis
    weights = constant_array(weight)
    if weight is None or axis is None or weights is None or weights.dtype != "float32":
        return None, None
    note = None
    if scheme.granularity == "blockwise":
        refusal = _blockwise_refusal(unit, weights, axis, scheme, constraints)
        if refusal:
            scheme = scheme.model_copy(update={"bits": 8, "granularity": "per-channel"})
            note = Note(where=unit.name, text=f"8-bit weights per channel: {refusal}")
    bias = None
    if unit.bias is not None:
        reader = unit.bias_add or unit.node
        index = reader.inputs.index(unit.bias)
        bias = BiasPlacement(unit.bias.name or "", Reader(reader.name or "", index))
    blockwise = scheme.granularity == "blockwise"
    repeats = int_attribute(unit.node, "group", 1) if unit.node.op_type == "ConvTranspose" else 1
    placed = LayerPlacement(
        layer=unit.name,
        op_type=unit.node.op_type,
        weight=weight.name or "",
        axis=axis,
        scheme=scheme,
        bias=bias,
        input_group=input_group,
        repeats=repeats,
        scale_format=constraints.blockwise_scale_format if blockwise else None,
    )
    return placed, note


def _blockwise_refusal(
    unit: Unit,
    weights: Array,
    axis: int,
    scheme: WeightScheme,
    constraints: QuantConstraints,
) -> str:
    if unit.node.op_type not in constraints.blockwise_ops:
        return f"{unit.node.op_type} has no kernel for blockwise weights"
    inputs = weights.shape[1 - axis]
    if inputs % scheme.block_size:
        return f"{inputs} inputs are no multiple of the block of {scheme.block_size}"
    largest = float(np.abs(weights.astype(np.float32)).max())
    scale = largest / ((1 << (scheme.bits - 1)) - 1)
    short = constraints.blockwise_scale_format != "float32"
    if short and largest and not _SMALLEST_SCALE <= scale <= _LARGEST_SCALE:
        return f"weights of up to {largest:.3g} need scales beyond float16"
    return ""
