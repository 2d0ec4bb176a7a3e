"""Reductions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgekit.targets.coreml.runtime.registry import Ints, Tensor, operator


def _product(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


_FUNCTIONS: dict[str, Callable[[Tensor, Ints, bool], Tensor]] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt((x * x).sum(axes, keepdim=keep)),
    "reduce_log_sum": lambda x, axes, keep: torch.log(x.sum(axes, keepdim=keep)),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "reduce_max": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "reduce_mean": lambda x, axes, keep: _mean(x, axes, keep),
    "reduce_min": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep),
}


def _mean(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    if x.is_floating_point():
        return x.mean(axes, keepdim=keep)
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return torch.div(x.sum(axes, keepdim=keep), count, rounding_mode="trunc")


def _register(name: str) -> None:
    function = _FUNCTIONS[name]

    def run(*, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        chosen = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes]
        return function(x, chosen, keep_dims) if chosen else function(x[None], [0], False)

    run.__name__ = name
    operator(name)(run)


for _name in _FUNCTIONS:
    _register(_name)


def _first(x: Tensor, axis: int, keep: bool, largest: bool) -> Tensor:
    """Index of the first extreme element; torch does not say which of equal ones it takes."""
    extreme = torch.amax(x, axis, keepdim=True) if largest else torch.amin(x, axis, keepdim=True)
    found = (x == extreme).to(torch.uint8)
    return torch.argmax(found, axis, keepdim=keep)


@operator("reduce_argmax")
def reduce_argmax(
    *, x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> Tensor:
    """Index of the first largest element."""
    return _first(x, axis, keep_dims, largest=True)


@operator("reduce_argmin")
def reduce_argmin(
    *, x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> Tensor:
    """Index of the first smallest element."""
    return _first(x, axis, keep_dims, largest=False)
