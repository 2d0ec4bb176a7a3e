"""States: values that outlive one prediction."""

from __future__ import annotations

from edgekit.targets.coreml.runtime.registry import Tensor, operator


@operator("read_state")
def read_state(*, input: Tensor) -> Tensor:
    """A copy of what the state holds."""
    return input.clone()


@operator("write_state")
def write_state(*, input: Tensor, data: Tensor) -> tuple[()]:
    """Replaces what the state holds."""
    input.copy_(data)
    return ()


@operator("coreml_update_state")
def coreml_update_state(*, state: Tensor, value: Tensor) -> Tensor:
    """Replaces what the state holds, and gives it."""
    state.copy_(value)
    return state.clone()
