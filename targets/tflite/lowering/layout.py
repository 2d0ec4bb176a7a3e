"""Arithmetic of storage orders: how a value of the ONNX graph lies in a TFLite tensor.

ONNX convolves NCHW, TFLite NHWC. Instead of inserting and cancelling transpositions, every
value carries its *axes*: axis ``i`` of the stored tensor holds axis ``axes[i]`` of the ONNX
value. A Transpose node then costs nothing (it renames axes), and a transposition is written
only where an operator demands an order that the value does not have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

type Axes = tuple[int, ...]
type Dim = int | str

NHWC: Axes = (0, 2, 3, 1)
NLC: Axes = (0, 2, 1)

_SYMBOLIC_FACTOR = 1_000_003
"""Stands for a symbolic dim in products: a prime that no real dim is a multiple of."""


def identity(rank: int) -> Axes:
    """The order in which nothing is moved."""
    return tuple(range(rank))


def stored_shape(shape: Sequence[Dim], axes: Axes) -> tuple[Dim, ...]:
    """Shape of the stored tensor of a value with ``shape``."""
    return tuple(shape[axis] for axis in axes)


def transposed(axes: Axes, permutation: Sequence[int]) -> Axes:
    """Axes of ``Transpose(value, permutation)`` when the stored tensor stays as it is."""
    position = {old: new for new, old in enumerate(permutation)}
    return tuple(position[axis] for axis in axes)


def permutation_between(current: Axes, wanted: Axes) -> Axes:
    """The TRANSPOSE permutation that turns a tensor stored as ``current`` into ``wanted``."""
    return tuple(current.index(axis) for axis in wanted)


def moves_data(shape: Sequence[Dim], current: Axes, wanted: Axes) -> bool:
    """Whether going from ``current`` to ``wanted`` changes the order of elements in memory.

    Axes of size 1 can be moved by a reshape alone.
    """

    def long_axes(axes: Axes) -> list[int]:
        return [axis for axis in axes if shape[axis] != 1]

    return long_axes(current) != long_axes(wanted)


def without_axes(axes: Axes, removed: Sequence[int]) -> Axes:
    """Axes of a value after logical axes ``removed`` are squeezed away."""
    gone = set(removed)
    kept = [axis for axis in range(len(axes)) if axis not in gone]
    renumbered = {axis: index for index, axis in enumerate(kept)}
    return tuple(renumbered[axis] for axis in axes if axis not in gone)


@dataclass(frozen=True, slots=True)
class ReshapePlan:
    """How a reshape is done on a stored tensor.

    Attributes:
        source: Order that the input must be stored in; a transposition is needed when it
            differs from the present one.
        result: Order that the output is then stored in.
    """

    source: Axes
    result: Axes


def plan_reshape(before: Sequence[Dim], after: Sequence[Dim], axes: Axes) -> ReshapePlan:
    """Finds the storage order through which a logical reshape is a plain one.

    Both shapes are cut into the smallest groups of axes with equal products (a merge, a
    split, or an untouched axis). A group can be reshaped in place if its input axes lie side
    by side in logical order; otherwise the plan asks for a transposition that brings them
    together where the last of them lies and leaves the order of the groups alone, or makes it
    the logical one where the last group stays the last. So a channel shuffle stays in NHWC, and
    attention's heads are merged into its last axis.

    Args:
        before: Logical shape of the input.
        after: Logical shape of the output, with the same number of elements.
        axes: Present storage order of the input.
    """
    groups = _matching_groups(before, after)
    group_of = {axis: number for number, (inputs, _) in enumerate(groups) for axis in inputs}
    long_axes = [axis for axis in axes if axis in group_of]
    order = list(dict.fromkeys(group_of[axis] for axis in reversed(long_axes)))[::-1]

    wanted_long = [axis for number in order for axis in groups[number][0]]
    if wanted_long != long_axes and order[-1] == len(groups) - 1:
        # Where all is moved anyway, it may as well be into the order that products give.
        order = list(range(len(groups)))
        wanted_long = [axis for number in order for axis in groups[number][0]]
    result_long = [axis for number in order for axis in groups[number][1]]
    source = axes if wanted_long == long_axes else _with_ones(before, wanted_long)
    return ReshapePlan(source, _with_ones(after, result_long))


def _matching_groups(
    before: Sequence[Dim], after: Sequence[Dim]
) -> list[tuple[list[int], list[int]]]:
    """Pairs of axis lists with equal products, ignoring axes of size 1."""

    def sized(shape: Sequence[Dim]) -> list[tuple[int, int]]:
        sizes = [_SYMBOLIC_FACTOR if isinstance(dim, str) else dim for dim in shape]
        return [(axis, size) for axis, size in enumerate(sizes) if size != 1]

    left, right = sized(before), sized(after)
    if prod(size for _, size in left) != prod(size for _, size in right):
        raise ValueError(f"shapes {tuple(before)} and {tuple(after)} differ in size")
    groups: list[tuple[list[int], list[int]]] = []
    while left or right:
        inputs, outputs = [left.pop(0)], [right.pop(0)]
        while (taken := prod(s for _, s in inputs)) != (made := prod(s for _, s in outputs)):
            if taken < made:
                inputs.append(left.pop(0))
            else:
                outputs.append(right.pop(0))
        groups.append(([axis for axis, _ in inputs], [axis for axis, _ in outputs]))
    return groups


def _with_ones(shape: Sequence[Dim], long_axes: Sequence[int]) -> Axes:
    """Completes an order of the axes longer than 1 with the axes of size 1.

    NHWC is taken for rank 4 where it fits, since convolutions and their neighbours want it;
    then the logical order; else leading axes of size 1 stay in front and every other one stands
    before the next higher axis.
    """
    rank = len(shape)
    for candidate in ([NHWC] if rank == 4 else []) + [identity(rank)]:
        if [axis for axis in candidate if axis in set(long_axes)] == list(long_axes):
            return candidate
    result = list(long_axes)
    lowest = min(long_axes, default=rank)
    for axis in range(rank):
        if axis in result:
            continue
        following = next((later for later in range(axis + 1, rank) if later in result), None)
        if axis < lowest:
            position = axis
        else:
            position = len(result) if following is None else result.index(following)
        result.insert(position, axis)
    return tuple(result)
