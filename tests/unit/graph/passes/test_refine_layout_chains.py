from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.graph.passes.merge_layout_chains import MergeLayoutChains
from edgekit.graph.passes.refine_layout_chains import RefineLayoutChains, refined_factors
from edgekit.graph.passes.remove_identities import RemoveIdentities
from tests.unit.graph.onnx_text import apply, graph, node, ops


def _chain(*shapes: tuple[int, ...], perms: tuple[tuple[int, ...], ...]) -> str:
    """Reshape to the first shape, Transpose, Reshape to the next and so on."""
    body = ""
    for index, perm in enumerate(perms):
        value = "x" if index == 0 else f"b{index - 1}"
        body += f"b{index}r = Reshape ({value}, s{index}) "
        body += f"b{index} = Transpose <perm = [{', '.join(map(str, perm))}]> (b{index}r) "
    return f"{body} y = Reshape (b{len(perms) - 1}, s{len(perms)})"


def test_patches_are_split_moved_once_and_merged() -> None:
    shapes = [(24, 2, 5, 2), (1, 8, 15, 4), (4, 15, 8)]
    perms = ((0, 2, 1, 3), (0, 3, 2, 1))
    model = graph(
        f"(float[1,8,6,10] x) => (float[4,15,8] y) {{ {_chain(perms=perms)} }}",
        **{f"s{index}": np.array(shape) for index, shape in enumerate(shapes)},
    )
    assert apply(model, RefineLayoutChains())
    while any([apply(model, RemoveIdentities()), apply(model, MergeLayoutChains()),
               apply(model, RefineLayoutChains())]):  # fmt: skip
        pass
    assert ops(model) == {"Reshape": 2, "Transpose": 1}
    moved = node(model, "Transpose")
    assert moved.inputs[0] is not None
    assert list(moved.inputs[0].shape or ()) == [8, 3, 2, 5, 2]
    assert list(moved.attributes["perm"].as_ints()) == [2, 4, 1, 3, 0]


@pytest.mark.parametrize(
    ("before", "inner", "perm", "after"),
    [
        # A channel shuffle splits and merges already.
        ((1, 8, 5, 6), (1, 2, 4, 5, 6), (0, 2, 1, 3, 4), (1, 8, 5, 6)),
        # 6 and 4 elements have no common cut.
        ((6, 4), (4, 6), (1, 0), (6, 4)),
        # Six factors.
        ((2, 2, 2, 2, 2, 2), (4, 4, 4), (2, 1, 0), (2, 2, 2, 2, 2, 2)),
    ],
)
def test_other_chains_stay(
    before: tuple[int, ...], inner: tuple[int, ...], perm: tuple[int, ...], after: tuple[int, ...]
) -> None:
    model = graph(
        f"(float[{', '.join(map(str, before))}] x) => (float[{', '.join(map(str, after))}] y) "
        f"{{ {_chain(perms=(perm,))} }}",
        s0=np.array(inner),
        s1=np.array(after),
    )
    assert not apply(model, RefineLayoutChains())


def test_what_others_read_stays() -> None:
    model = graph(
        "(float[2,3,4] x) => (float[4,6] y, float[6,4] r) { r = Reshape (x, s) "
        "t = Transpose (r) y = Reshape (t, u) }",
        s=np.array([6, 4]),
        u=np.array([4, 6]),
    )
    assert not apply(model, RefineLayoutChains())


@st.composite
def chains(draw: st.DrawFn) -> tuple[tuple[int, ...], ...]:
    """Shapes and a permutation of a chain whose axes are products of common factors."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3, 4]), min_size=1, max_size=6))

    def merged(sizes: list[int]) -> tuple[int, ...]:
        shape = [sizes[0]]
        for size in sizes[1:]:
            if draw(st.booleans()):
                shape[-1] *= size
            else:
                shape.append(size)
        return tuple(shape)

    inner = merged(factors)
    order = tuple(draw(st.permutations(range(len(inner)))))
    return merged(factors), inner, order, merged([inner[axis] for axis in order])


@given(chains())
def test_factors_give_the_same_elements(chain: tuple[tuple[int, ...], ...]) -> None:
    outer, inner, order, final = chain
    value = np.arange(prod(outer)).reshape(outer)
    found = refined_factors(outer, inner, order, final)
    assert found is not None
    factors, moved = found
    expected = value.reshape(inner).transpose(order).reshape(final)
    assert np.array_equal(value.reshape(factors).transpose(moved).reshape(final), expected)
