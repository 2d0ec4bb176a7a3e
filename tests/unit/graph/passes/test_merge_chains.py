"""Merging of slices, transposes and reshapes that follow each other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.graph.passes.merge_layout_chains import MergeLayoutChains
from edgekit.graph.passes.merge_slices import MergeSlices
from edgekit.graph.values import ints_attribute
from tests.unit.graph.onnx_text import apply, graph, node, ops


def test_slices_of_different_axes_are_one() -> None:
    model = graph(
        "(float[2,3,9,8] x) => (float[1,3,h,w] y) { a = Slice (x, s0, e0, w_axis, two) "
        "b = Slice (a, s1, e1, h_axis, three) y = Slice (b, s1, s2, first) }",
        s0=np.array([1]),
        e0=np.array([-1]),
        s1=np.array([0]),
        e1=np.array([2**62]),
        s2=np.array([1]),
        w_axis=np.array([-1]),
        h_axis=np.array([2]),
        first=np.array([0]),
        two=np.array([2]),
        three=np.array([3]),
    )
    assert apply(model, MergeSlices())
    assert ops(model) == {"Slice": 1}


@pytest.mark.parametrize("output", ["", ", float[2,2] a"])
def test_slices_of_one_axis_or_with_other_readers_stay(output: str) -> None:
    axis = 1 if not output else 0
    model = graph(
        f"(float[2,4] x) => (float[n,m] y{output}) "
        "{ a = Slice (x, one, end, last) y = Slice (a, one, end, axis) }",
        one=np.array([1]),
        end=np.array([3]),
        last=np.array([1]),
        axis=np.array([axis]),
    )
    assert not apply(model, MergeSlices())


@given(first=st.permutations(range(4)), second=st.permutations(range(4)))
@settings(max_examples=20, deadline=None)
def test_transposes_compose(first: list[int], second: list[int]) -> None:
    shape = [2, 3, 4, 5]
    middle = [shape[axis] for axis in first]
    final = [middle[axis] for axis in second]
    model = graph(
        f"(float[2,3,4,5] x) => (float[{','.join(map(str, final))}] y) {{ "
        f"a = Transpose <perm = {first}> (x) y = Transpose <perm = {second}> (a) }}"
    )
    assert apply(model, MergeLayoutChains())
    assert ops(model) == {"Transpose": 1}


def test_a_transpose_without_permutation_reverses() -> None:
    model = graph("(float[2,3,4] x) => (float[2,3,4] y) { a = Transpose (x) y = Transpose (a) }")
    assert apply(model, MergeLayoutChains())
    assert ints_attribute(node(model, "Transpose"), "perm") == (0, 1, 2)


@pytest.mark.parametrize(
    "inner",
    ["Reshape (x, flat)", "Flatten (x)", "Unsqueeze (x, axis)", "Squeeze (x, last)"],
)
@pytest.mark.parametrize("target", ["target", "free"])
def test_only_the_last_reshape_counts(inner: str, target: str) -> None:
    model = graph(
        f"(float[2,3,4,1] x) => (float[4,6] y) {{ a = {inner} y = Reshape (a, {target}) }}",
        flat=np.array([24]),
        axis=np.array([0]),
        last=np.array([3]),
        target=np.array([4, 6]),
        free=np.array([-1, 6]),
    )
    assert apply(model, MergeLayoutChains())
    assert ops(model) == {"Reshape": 1}


def test_a_reshape_that_copies_a_size_stays() -> None:
    model = graph(
        "(float[2,3,4] x) => (float[6,4] y) { a = Reshape (x, flat) y = Reshape (a, zero) }",
        flat=np.array([6, 2, 2]),
        zero=np.array([0, 4]),
    )
    assert not apply(model, MergeLayoutChains())
