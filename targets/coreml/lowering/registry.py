"""The table of ONNX operators that this target lowers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    from edgekit.targets.coreml.lowering.emitter import Emitter

type Var = Any
"""A value of a MIL program (`coremltools.converters.mil.mil.Var`, which has no types)."""

type Lowering = Callable[[Emitter, ir.Node], Var | Sequence[Var | None]]
"""Emits MIL operators for one node and gives the variables of its outputs."""


@dataclass(frozen=True, slots=True)
class OpSupport:
    """One row of the support table.

    Attributes:
        op: ONNX operator type of the default domain.
        accepts: What is accepted, for people.
        lower: The lowering.
    """

    op: str
    accepts: str
    lower: Lowering


LOWERINGS: dict[str, OpSupport] = {}


def lowers(*ops: str, accepts: str) -> Callable[[Lowering], Lowering]:
    """Registers a lowering for one or more ONNX operators.

    Args:
        ops: Operator types of the default domain.
        accepts: What is accepted; shown by the docs and in the refusal of other forms.

    Raises:
        ValueError: If an operator is registered twice.
    """

    def register(lowering: Lowering) -> Lowering:
        for op in ops:
            if op in LOWERINGS:
                raise ValueError(f"two lowerings are registered for {op}")
            LOWERINGS[op] = OpSupport(op, accepts, lowering)
        return lowering

    return register
