"""The decision about a whole graph: which values, layers and constants are quantized."""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from edgekit.core.quant import QuantConstraints, QuantScheme
from edgekit.core.stage import Note
from edgekit.quantization.classification import Classification, check_patterns, classify
from edgekit.quantization.grouping import Grouping
from edgekit.quantization.layers import place_layer
from edgekit.quantization.placement import LayerPlacement, Placement
from edgekit.quantization.units import Unit, find_units
from edgekit.quantization.weight_reasons import weight_reason

QUANTIZED_OPS = frozenset(
    {
        "ConvInteger", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger",
        "QLinearConv", "QLinearMatMul", "QuantizeLinear",
    }
)  # fmt: skip
"""Ops that occur only in a graph that somebody has quantized before."""


def place(
    model: ir.Model,
    scheme: QuantScheme,
    constraints: QuantConstraints | None = None,
    only: Collection[str] | None = None,
) -> Placement:
    """Decides where ``model`` is quantized; nothing is measured or edited.

    Args:
        model: Canonical graph; see `edgekit.quantization.preparation` for rewrites that let
            more of it be quantized. Not modified.
        scheme: What is asked for.
        constraints: What the target demands; by default what TFLite's kernels demand.
        only: Names of the ops that may be quantized (movement beside them follows); None
            for all. For the analysis of single layers.

    Returns:
        The placement; for a graph that is quantized already an empty one that says so.

    Raises:
        ConfigError: If the scheme contradicts itself or names nodes that do not exist.
    """
    constraints = constraints or QuantConstraints()
    found = sorted({node.op_type for node in model.graph if node.op_type in QUANTIZED_OPS})
    if found:
        text = f"The graph is quantized already ({', '.join(found)}) and is kept as it is"
        return Placement(already_quantized=True, notes=(Note(text=text),))
    if scheme.activations is None:
        return _place_weights(model.graph, scheme, constraints, only)
    classification = classify(model.graph, scheme, constraints, only)
    grouping = Grouping(classification, scheme, constraints)
    grouping.build(model.graph)
    groups = grouping.groups()
    group_of = {member: group.name for group in groups for member in group.members}
    layers: list[LayerPlacement] = []
    notes: list[Note] = []
    for unit in classification.bits:
        weights = classification.choices[unit].weights
        if unit.weight is None or weights is None:
            continue
        read = group_of[grouping.read_as(unit, 0)]
        layer, note = place_layer(unit, weights, constraints, read)
        layers += [layer] if layer is not None else []
        notes += [note] if note is not None else []
    return Placement(
        groups=groups,
        conversions=grouping.conversions(),
        constants=grouping.constants(groups),
        layers=tuple(layers),
        integer_units=tuple(unit.name for unit in classification.bits),
        float_reasons=_reasons(classification.units, classification),
        scale_format=scheme.scale_format,
        notes=(*notes, *_interface_notes(model.graph, set(group_of))),
    )


def _reasons(
    units: tuple[Unit, ...], classification: Classification
) -> tuple[tuple[str, str], ...]:
    reasons = classification.reasons
    return tuple((unit.name, reasons[unit]) for unit in units if unit in reasons)


def _interface_notes(graph: ir.Graph, quantized: set[str]) -> list[Note]:
    """Says which inputs and outputs of the model stay float32, and why."""
    notes = []
    for role, values in (("input", graph.inputs), ("output", graph.outputs)):
        for value in values:
            if value.dtype == ir.DataType.FLOAT and value.name not in quantized:
                where = "only read" if role == "input" else "computed"
                text = f"The {role} stays float32, since it is {where} by ops in float"
                notes.append(Note(where=value.name or "", text=text))
    return notes


def _place_weights(
    graph: ir.Graph,
    scheme: QuantScheme,
    constraints: QuantConstraints,
    only: Collection[str] | None,
) -> Placement:
    """Placement of a scheme that leaves activations in float."""
    units = find_units(graph, constraints)
    check_patterns(scheme, [node.name or "" for unit in units for node in unit.nodes])
    layers: list[LayerPlacement] = []
    notes: list[Note] = []
    reasons: list[tuple[str, str]] = []
    for unit in units:
        reason = weight_reason(unit)
        if unit.weight is None or reason:
            reasons += [(unit.name, reason)] if reason else []
            continue
        choice = scheme.choice_for(unit.name, *(node.name or "" for node in unit.nodes[1:]))
        reason = choice.keep_float
        if not reason and only is not None and unit.name not in only:
            reason = "it was not selected"
        if choice.weights is None or reason:
            reasons.append((unit.name, reason or "its weights stay float"))
            continue
        layer, note = place_layer(unit, choice.weights, constraints)
        layers += [layer] if layer is not None else []
        notes += [note] if note is not None else []
    return Placement(
        layers=tuple(layers),
        float_reasons=tuple(reasons),
        scale_format=scheme.scale_format,
        notes=tuple(notes),
    )
