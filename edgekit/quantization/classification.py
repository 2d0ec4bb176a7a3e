"""Which units of a graph compute on integers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.core.quant import LayerChoice, QuantConstraints, QuantScheme
from edgekit.core.toml_config import nearest_name
from edgekit.errors import ConfigError
from edgekit.graph.values import constant_array
from edgekit.quantization.kernel_support import float_reason
from edgekit.quantization.units import Unit, find_units

_SHAPE_READERS = frozenset({"Shape", "Size"})
_BETWEEN = "it only moves data between ops in float"

_SHOWN_NAMES = 40


@dataclass(frozen=True, slots=True)
class Classification:
    """The units of a graph and what becomes of each.

    Attributes:
        units: All units, in graph order.
        choices: What the scheme says of a unit, for units on float32 tensors.
        bits: Bits of the activations of each unit that computes on integers.
        reasons: Why the others compute in float.
    """

    units: tuple[Unit, ...]
    choices: dict[Unit, LayerChoice]
    bits: dict[Unit, int]
    reasons: dict[Unit, str]


def classify(
    graph: ir.Graph,
    scheme: QuantScheme,
    constraints: QuantConstraints,
    only: Collection[str] | None = None,
) -> Classification:
    """Decides for every unit of ``graph`` whether it computes on integers.

    Args:
        graph: Not modified.
        scheme: What is asked for; its activations must be quantized.
        constraints: What the target can do.
        only: Names of the units that may be quantized; None for all.

    Raises:
        ConfigError: If a pattern of the scheme matches no node, or patterns contradict.
    """
    units = find_units(graph, constraints)
    check_patterns(scheme, [node.name or "" for unit in units for node in unit.nodes])
    found = Classification(units, {}, {}, {})
    computing = [unit for unit in units if is_on_floats(unit)]
    movement: list[Unit] = []
    for unit in computing:
        choice = scheme.choice_for(unit.name, *(node.name or "" for node in unit.nodes[1:]))
        found.choices[unit] = choice
        if choice.keep_float or choice.activations is None:
            found.reasons[unit] = choice.keep_float or "its activations stay float"
            continue
        moves = unit.node.op_type in constraints.movement_ops
        if only is not None and unit.name not in only and not moves:
            found.reasons[unit] = "it was not selected"
            continue
        bits = _bits_of(unit, choice, found, constraints)
        reason = float_reason(unit, bits, constraints)
        if reason is not None:
            found.reasons[unit] = reason
            continue
        found.bits[unit] = bits
        if moves:
            movement.append(unit)
    _leave_movement_between_floats(movement, found)
    return found


def check_patterns(scheme: QuantScheme, names: Sequence[str]) -> None:
    """Refuses a pattern that speaks of no node, since that is a spelling mistake.

    Raises:
        ConfigError: Naming the pattern and what it may have meant.
    """
    for pattern in scheme.patterns():
        narrowed = QuantScheme(keep_float=(pattern,))
        if not any(narrowed.choice_for(name).keep_float for name in names):
            raise ConfigError(
                f"Pattern {pattern!r} matches no node of the model.{nearest_name(pattern, names)} "
                f"Its nodes: {', '.join(names[:_SHOWN_NAMES])}"
                f"{', ...' if len(names) > _SHOWN_NAMES else ''}"
            )


def is_on_floats(unit: Unit) -> bool:
    """Whether a unit computes on float32 tensors, and not only on shapes or integers."""
    if unit.node.op_type in _SHAPE_READERS:
        return False
    values = [value for _, value in unit.operands()] + list(unit.outputs)
    return any(value.dtype == ir.DataType.FLOAT for value in values)


def _bits_of(
    unit: Unit, choice: LayerChoice, found: Classification, constraints: QuantConstraints
) -> int:
    """Bits of a unit: forced, chosen, or for one that passes values on, those of its inputs."""
    assert choice.activations is not None
    forced = constraints.forced_bits.get(unit.node.op_type)
    if forced is not None:
        return forced
    passes_on = constraints.movement_ops | constraints.same_scale_ops
    if unit.node.op_type not in passes_on:
        return choice.activations.bits
    made_by = {node: other for other in found.bits for node in other.nodes}
    producers = [value.producer() for _, value in unit.operands()]
    bits = {found.bits[made_by[node]] for node in producers if node in made_by}
    return bits.pop() if len(bits) == 1 else choice.activations.bits


def _leave_movement_between_floats(movement: list[Unit], found: Classification) -> None:
    """Turns chains of movement to float that touch no op on integers."""
    unit_of = {node: unit for unit in found.units for node in unit.nodes}
    anchored = {unit for unit in found.bits if unit not in set(movement)}
    frontier = list(anchored)
    while frontier:
        unit = frontier.pop()
        for neighbour in _neighbours(unit, unit_of):
            if neighbour in found.bits and neighbour not in anchored:
                anchored.add(neighbour)
                frontier.append(neighbour)
    for unit in movement:
        if unit not in anchored:
            del found.bits[unit]
            found.reasons[unit] = _BETWEEN


def _neighbours(unit: Unit, unit_of: dict[ir.Node, Unit]) -> list[Unit]:
    nodes = [use.node for value in unit.outputs for use in value.uses()]
    for _, value in unit.operands():
        producer = value.producer()
        if producer is not None and constant_array(value) is None:
            nodes.append(producer)
    return [unit_of[node] for node in nodes if node in unit_of]
