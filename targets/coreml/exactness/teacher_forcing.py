"""Runs every operator of a package on the QDQ graph's own integers.

The runtime shows each result as it comes and takes another one in its place, so a single run
forces all of them: what a quantize gives is compared with the graph's integers, and those are
what is computed on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.core.exactness import ForcedDifference, accepted_lsb
from edgekit.graph.quantized_integers import as_int8, as_type
from edgekit.targets.coreml.embedded import StoredOrigin
from edgekit.targets.coreml.exactness.stored_parameters import StoredParameters, find
from edgekit.targets.coreml.package.program import Program
from edgekit.targets.coreml.session import MilSession

type Array = Any


def forced_differences(
    session: MilSession,
    program: Program,
    stored: Mapping[str, StoredParameters],
    origins: Sequence[StoredOrigin],
    feeds: Sequence[Mapping[str, Array]],
    references: Sequence[Mapping[str, Array]],
) -> list[ForcedDifference]:
    """Largest difference of every quantize, the largest first.

    Args:
        session: The package.
        program: Its program.
        stored: Its quantizing operators.
        origins: Which variable holds which value.
        feeds: Inputs of the graph.
        references: From `edgekit.graph.quantized_integers`.
    """
    values = {}
    for origin in origins:
        held = find(stored, origin.variable) if origin.role == "quantize" else None
        if held is not None:
            values[held.name] = origin.value
    worst: dict[str, int] = defaultdict(int)
    wrong: dict[str, int] = defaultdict(int)
    total: dict[str, int] = defaultdict(int)
    for sample, reference in zip(feeds, references, strict=True):

        def observe(
            name: str, array: Array, reference: Mapping[str, Array] = reference
        ) -> Array | None:
            value = values.get(name)
            if value is None or value not in reference:
                return None
            expected = reference[value]
            steps = np.abs(as_int8(array).astype(np.int32) - expected.astype(np.int32))
            worst[name] = max(worst[name], int(steps.max(initial=0)))
            wrong[name] += int((steps > 0).sum())
            total[name] += steps.size
            return as_type(expected, array.dtype)

        session.run(sample, observer=observe)
    operators = operators_before(program, set(values))
    found = [
        ForcedDifference(
            tensor=name,
            operators=operators.get(name, ("quantize",)),
            lsb=worst[name],
            share=wrong[name] / max(total[name], 1),
        )
        for name in values
        if total[name]
    ]
    return sorted(found, key=lambda item: (-item.lsb / accepted_lsb(item.bits), -item.share))


_PARAMETERS = ("const", "constexpr_")


def operators_before(
    program: Program, names: set[str], known: frozenset[str] = frozenset()
) -> dict[str, tuple[str, ...]]:
    """Types of the operators before each variable, in order.

    Args:
        program: The program.
        names: Variables, for example those that quantize writes.
        known: Variables that none of the operators lies before, besides those that dequantize
            writes; a variable of ``names`` does not bound itself.
    """
    found = {}
    for function in program.functions.values():
        makers = {
            output.name: operation
            for operation in function.block.operations
            for output in operation.outputs
        }
        for name in names & makers.keys():
            types: list[str] = []
            pending, seen = [name], set()
            while pending:
                variable = pending.pop()
                maker = makers.get(variable)
                if maker is None or id(maker) in seen:
                    continue
                seen.add(id(maker))
                bounds = variable in known or maker.type == "dequantize"
                if (bounds and variable != name) or maker.type.startswith(_PARAMETERS):
                    continue
                types.append(maker.type)
                pending += [
                    item
                    for items in maker.inputs.values()
                    for item in items
                    if isinstance(item, str)
                ]
            found[name] = tuple(reversed(types))
    return found
