"""Branches and loops."""

from __future__ import annotations

from typing import Any

from edgekit.errors import InternalError
from edgekit.targets.coreml.runtime.registry import Call, operator

_MOST_ROUNDS = 10_000_000


@operator("cond")
def cond(*, pred: bool, call: Call) -> tuple[Any, ...]:
    """The first block where the condition holds, else the second."""
    return tuple(call.blocks[0 if pred else 1]([]))


@operator("while_loop")
def while_loop(*, loop_vars: Any, call: Call) -> tuple[Any, ...]:
    """Runs the second block as long as the first one gives true."""
    condition, body = call.blocks
    state = list(loop_vars) if isinstance(loop_vars, list) else [loop_vars]
    for _ in range(_MOST_ROUNDS):
        if not bool(condition(state)[0]):
            return tuple(state)
        state = body(state)
    raise InternalError(f"a loop did not end after {_MOST_ROUNDS} rounds")
