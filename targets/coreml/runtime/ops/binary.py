"""Element by element functions of two tensors, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgekit.targets.coreml.runtime.registry import Tensor, operator

_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "maximum": torch.maximum,
    "minimum": torch.minimum, "mod": torch.remainder, "equal": torch.eq, "not_equal": torch.ne,
    "greater": torch.gt, "greater_equal": torch.ge, "less": torch.lt, "less_equal": torch.le,
    "logical_and": torch.logical_and, "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor, "pow": torch.pow,
}  # fmt: skip


def _register(name: str) -> None:
    function = _FUNCTIONS[name]

    def run(*, x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    run.__name__ = name
    operator(name)(run)


for _name in _FUNCTIONS:
    _register(_name)


@operator("real_div")
def real_div(*, x: Tensor, y: Tensor) -> Tensor:
    """``x / y``; of integers cut towards zero when stored."""
    return torch.true_divide(x, y)


@operator("floor_div")
def floor_div(*, x: Tensor, y: Tensor) -> Tensor:
    """``floor(x / y)``."""
    return torch.floor_divide(x, y)


@operator("select")
def select(*, cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``a`` where the condition holds, else ``b``."""
    return torch.where(cond, a, b)
