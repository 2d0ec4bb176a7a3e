from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.graph.passes.merge_parallel_convs import MergeParallelConvs
from tests.unit.graph.onnx_text import apply, graph, ops, random


@given(
    kernels=st.lists(st.sampled_from([1, 3, 5]), min_size=2, max_size=3),
    group=st.sampled_from([1, 2, 4]),
    stride=st.sampled_from([1, 2]),
)
@settings(max_examples=25, deadline=None)
def test_centred_kernels_of_any_size_group_and_stride_merge(
    kernels: list[int], group: int, stride: int
) -> None:
    convs = "".join(
        f"c{i} = Conv <pads = [{k // 2},{k // 2},{k // 2},{k // 2}], group = {group}, "
        f"strides = [{stride},{stride}]> (x, w{i}, b{i}) "
        for i, k in enumerate(kernels)
    )
    adds = "s1 = Add (c0, c1) " + ("s2 = Add (c2, s1) " if len(kernels) == 3 else "")
    weights = {f"w{i}": random(8, 4 // group, k, k, seed=i) for i, k in enumerate(kernels)}
    biases = {f"b{i}": random(8, seed=10 + i) for i in range(len(kernels))}
    size = -(-7 // stride)
    model = graph(
        f"(float[1,4,7,7] x) => (float[1,8,{size},{size}] y) "
        f"{{ {convs} {adds} y = Relu (s{len(kernels) - 1}) }}",
        **weights,
        **biases,
    )
    assert apply(model, MergeParallelConvs())
    assert ops(model) == {"Conv": 1, "Relu": 1}


@pytest.mark.parametrize("group", [1, 2, 4])
def test_the_input_and_its_scaled_form_merge_as_1x1_kernels(group: int) -> None:
    model = graph(
        "(float[1,4,7,7] x) => (float[1,4,7,7] y) { "
        f"c = Conv <pads = [1,1,1,1], group = {group}> (x, w) "
        "m = Mul (x, k) a = Add (m, o) s = Add (c, a) y = Add (s, x) }",
        w=random(4, 4 // group, 3, 3),
        k=random(1, 4, 1, 1, seed=1),
        o=random(1, 4, 1, 1, seed=2),
    )
    assert apply(model, MergeParallelConvs())
    assert ops(model) == {"Conv": 1}


def test_summands_of_other_values_are_still_added() -> None:
    model = graph(
        "(float[1,4,7,7] x, float[1,4,7,7] z) => (float[1,4,7,7] y) { "
        "c = Conv (x, w) d = Conv (x, v) s = Add (c, z) y = Add (s, d) }",
        w=random(4, 4, 1, 1),
        v=random(4, 4, 1, 1, seed=1),
    )
    assert apply(model, MergeParallelConvs())
    assert ops(model) == {"Conv": 1, "Add": 1}


def test_a_residual_connection_across_a_nonlinearity_stays() -> None:
    model = graph(
        "(float[1,4,7,7] x) => (float[1,4,7,7] y) { r = Relu (x) c = Conv (r, w) y = Add (c, x) }",
        w=random(4, 4, 1, 1),
    )
    assert not apply(model, MergeParallelConvs())


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("<pads = [1,1,1,1]> (x, w)", "<pads = [2,2,0,0]> (x, v)", "not aligned"),
        ("<pads = [1,1,1,1]> (x, w)", "<pads = [2,2,2,2], dilations = [2,2]> (x, v)", "dilated"),
        ("<pads = [1,1,1,1]> (x, w)", '<auto_pad = "SAME_UPPER"> (x, v)', "automatic"),
    ],
)
def test_what_cannot_be_aligned_stays_with_a_reason(first: str, second: str, reason: str) -> None:
    model = graph(
        f"(float[1,4,7,7] x) => (float[1,4,7,7] y) "
        f"{{ c = Conv {first} d = Conv {second} y = Add (c, d) }}",
        w=random(4, 4, 3, 3),
        v=random(4, 4, 3, 3, seed=1),
    )
    graph_pass = MergeParallelConvs()
    assert not apply(model, graph_pass)
    assert reason in graph_pass.notes[0].text


def test_a_convolution_with_another_reader_stays() -> None:
    model = graph(
        "(float[1,4,7,7] x) => (float[1,4,7,7] y, float[1,4,7,7] c) "
        "{ c = Conv (x, w) d = Conv (x, v) y = Add (c, d) }",
        w=random(4, 4, 1, 1),
        v=random(4, 4, 1, 1, seed=1),
    )
    assert not apply(model, MergeParallelConvs())
