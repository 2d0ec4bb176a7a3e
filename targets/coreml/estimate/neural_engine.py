"""Ops of an ML program that are likely to leave the Neural Engine.

Core ML decides on the device what runs where, and Apple publishes no list. The rules
(`neural_engine_rules`) gather what is known in public; they speak of the A14, the chip that the
latency estimate is for. An op that no rule names may leave all the same, and one that is named may
stay on newer chips and systems: only a performance report from a device tells.
"""

from __future__ import annotations

from collections.abc import Iterable

from edgekit.targets.coreml.estimate.departures import Departure
from edgekit.targets.coreml.estimate.neural_engine_rules import RULES
from edgekit.targets.coreml.estimate.op_facts import OpFacts

_UNPLACED = frozenset({"const", "identity", "cast"})
"""Types that no rule judges: constants are folded, and a cast at the border of a program, where
Core ML converts the inputs and outputs of the caller, takes nothing else off the engine."""


def leaves_neural_engine(ops: Iterable[OpFacts]) -> tuple[Departure, ...]:
    """Ops that are likely to run on the CPU or GPU, with the reasons.

    Args:
        ops: Of one function in order, with those of nested blocks.

    Returns:
        One entry for each op and rule that applies, in the order of the ops.
    """
    return tuple(
        Departure(op=facts.type, name=facts.name, reason=rule.reason, source=rule.source)
        for facts in ops
        if facts.type not in _UNPLACED and not facts.type.startswith("constexpr_")
        for rule in RULES
        if rule.applies(facts)
    )
