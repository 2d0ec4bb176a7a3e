"""Shapes, axes and indices that a graph states or computes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

type Integers = Sequence[int] | Tensor
"""Constant integers, or those that another node computes while the graph runs."""


def as_ints(values: Integers) -> list[int]:
    """Python integers of either form."""
    if isinstance(values, Tensor):
        return [int(item) for item in values.reshape(-1).tolist()]
    return [int(item) for item in values]


def positive_axes(axes: Integers, rank: int) -> list[int]:
    """Axes counted from the front."""
    return [axis % rank if rank else 0 for axis in as_ints(axes)]
