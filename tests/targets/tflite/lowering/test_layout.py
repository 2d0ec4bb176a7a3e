"""Storage-order arithmetic against NumPy's own reshape and transpose."""

from __future__ import annotations

from math import prod

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.targets.tflite.lowering.layout import (
    NHWC,
    identity,
    moves_data,
    permutation_between,
    plan_reshape,
    stored_shape,
    transposed,
    without_axes,
)


@st.composite
def reshapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """A shape, another of the same size, and a storage order of the first."""
    factors = draw(st.lists(st.sampled_from([1, 2, 2, 3, 4]), min_size=1, max_size=5))
    joins = st.lists(st.booleans(), min_size=len(factors), max_size=len(factors))

    def merged() -> tuple[int, ...]:
        shape: list[int] = []
        for factor, joined in zip(factors, draw(joins), strict=True):
            if shape and joined:
                shape[-1] *= factor
            else:
                shape.append(factor)
        return tuple(shape)

    before, after = merged(), merged()
    return before, after, tuple(draw(st.permutations(range(len(before)))))


@given(reshapes())
def test_planned_reshape_is_the_logical_reshape(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    before, after, axes = case
    value = np.arange(prod(before)).reshape(before)
    plan = plan_reshape(before, after, axes)
    stored = value.transpose(plan.source).reshape(np.array(stored_shape(after, plan.result)))
    restored = stored.transpose(np.argsort(plan.result))
    assert np.array_equal(restored, value.reshape(after))


@given(reshapes())
def test_a_reshape_possible_in_place_keeps_the_storage_order(
    case: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]],
) -> None:
    before, after, _ = case
    assert plan_reshape(before, after, identity(len(before))).source == identity(len(before))


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_transposing_renames_axes_without_moving_data(order: list[int], moved: list[int]) -> None:
    value = np.arange(120).reshape(2, 3, 4, 5)
    axes = transposed(tuple(order), moved)
    stored = value.transpose(order)
    assert np.array_equal(value.transpose(moved).transpose(axes), stored)


@given(st.permutations(range(4)), st.permutations(range(4)))
def test_permutation_between_two_orders(current: list[int], wanted: list[int]) -> None:
    value = np.arange(120).reshape(2, 3, 4, 5)
    moved = value.transpose(current).transpose(permutation_between(tuple(current), tuple(wanted)))
    assert np.array_equal(moved, value.transpose(wanted))


def test_axes_of_size_one_move_for_free() -> None:
    assert not moves_data((1, 8, 1, 1), identity(4), NHWC)
    assert moves_data((1, 8, 2, 1), identity(4), NHWC)


def test_flattening_nhwc_asks_for_a_transposition() -> None:
    assert plan_reshape((1, 4, 3, 5), (1, 60), NHWC).source == identity(4)
    assert plan_reshape((1, 4, 1, 1), (1, 4), NHWC).source == NHWC


def test_channel_shuffle_stays_in_nhwc() -> None:
    split = plan_reshape((1, 8, 6, 7), (1, 2, 4, 6, 7), NHWC)
    assert (split.source, split.result) == (NHWC, (0, 3, 4, 1, 2))
    shuffled = transposed(split.result, (0, 2, 1, 3, 4))
    merged = plan_reshape((1, 4, 2, 6, 7), (1, 8, 6, 7), shuffled)
    assert (merged.source, merged.result) == ((0, 3, 4, 1, 2), NHWC)


def test_heads_are_merged_into_the_last_axis() -> None:
    heads_first = transposed(identity(4), (0, 2, 1, 3))
    merged = plan_reshape((1, 50, 4, 16), (1, 50, 64), heads_first)
    assert (merged.source, merged.result) == (identity(4), identity(3))


def test_what_is_moved_anyway_is_moved_into_the_logical_order() -> None:
    # MobileViT's patches, two by two pixels of an NHWC image: [p, q, h, w, C].
    patches = plan_reshape((2, 2, 16, 16, 64), (4, 256, 64), (2, 0, 3, 1, 4))
    assert (patches.source, patches.result) == (identity(5), identity(3))


def test_a_dynamic_batch_is_a_factor_of_its_own() -> None:
    plan = plan_reshape(("batch", 8, 1, 1), ("batch", 8), NHWC)
    assert (plan.source, plan.result) == (NHWC, (0, 1))


def test_squeezed_axes_are_renumbered() -> None:
    assert without_axes(NHWC, [2, 3]) == (0, 1)
    assert without_axes((3, 0, 2, 1), [1]) == (2, 0, 1)
