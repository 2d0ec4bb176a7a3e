from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.graph.passes.fuse_pad import FusePad
from tests.unit.graph.onnx_text import apply, graph, ops, random


@given(
    sizes=st.tuples(*[st.integers(0, 3)] * 4),
    own=st.tuples(*[st.integers(0, 1)] * 4),
    stride=st.sampled_from([1, 2]),
)
@settings(max_examples=25, deadline=None)
def test_padding_of_any_sides_moves_into_the_convolution(
    sizes: tuple[int, int, int, int], own: tuple[int, int, int, int], stride: int
) -> None:
    top, left, bottom, right = sizes
    model = graph(
        "(float[1,2,6,7] x) => (float[1,3,h,w2] y) { p = Pad (x, pads) "
        f"y = Conv <pads = [{','.join(map(str, own))}], strides = [{stride},{stride}]> (p, w) }}",
        pads=np.array([0, 0, top, left, 0, 0, bottom, right]),
        w=random(3, 2, 3, 3),
    )
    assert apply(model, FusePad())
    assert ops(model) == {"Conv": 1}


def test_axes_and_an_explicit_zero() -> None:
    model = graph(
        '(float[1,2,6,7] x) => (float[1,3,h,w2] y) { p = Pad <mode = "constant"> '
        "(x, pads, zero, axes) y = Conv (p, w) }",
        pads=np.array([1, 2]),
        zero=np.asarray(0, np.float32),
        axes=np.array([-1]),
        w=random(3, 2, 3, 3),
    )
    assert apply(model, FusePad())
    assert ops(model) == {"Conv": 1}


@pytest.mark.parametrize(("counted", "fused"), [(1, True), (0, False)])
def test_average_pool_takes_padding_that_it_counts(counted: int, *, fused: bool) -> None:
    model = graph(
        "(float[1,2,6,6] x) => (float[1,2,h,w] y) { p = Pad (x, pads) y = AveragePool "
        f"<kernel_shape = [3,3], strides = [2,2], count_include_pad = {counted}> (p) }}",
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    )
    assert apply(model, FusePad()) is fused


@pytest.mark.parametrize(
    ("pad", "pads", "reason"),
    [
        ("Pad (x, pads, one)", [0, 0, 1, 1, 0, 0, 1, 1], "no constant padding with zeros"),
        ('Pad <mode = "reflect"> (x, pads)', [0, 0, 1, 1, 0, 0, 1, 1], "no constant padding"),
        ("Pad (x, pads)", [0, 1, 1, 1, 0, 1, 1, 1], "pads batch or channels"),
        ("Pad (x, pads)", [0, 0, -1, 1, 0, 0, 1, 1], "crops"),
    ],
)
def test_other_paddings_stay_with_a_reason(pad: str, pads: list[int], reason: str) -> None:
    channels = 4 if pads[1] else 2
    model = graph(
        f"(float[1,2,6,7] x) => (float[1,3,h,w2] y) {{ p = {pad} y = Conv (p, w) }}",
        pads=np.array(pads),
        one=np.asarray(1, np.float32),
        w=random(3, channels, 3, 3),
    )
    graph_pass = FusePad()
    assert not apply(model, graph_pass)
    assert reason in graph_pass.notes[0].text


def test_a_padded_value_with_other_readers_stays() -> None:
    model = graph(
        "(float[1,2,6,7] x) => (float[1,3,h,w2] y, float[1,2,8,9] p) "
        "{ p = Pad (x, pads) y = Conv (p, w) }",
        pads=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        w=random(3, 2, 3, 3),
    )
    assert not apply(model, FusePad())
