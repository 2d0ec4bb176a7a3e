from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.normalize_pooling import NormalizePooling
from tests.unit.graph.onnx_text import apply, graph, ops

_AXES = {"hw": np.array([2, 3]), "negative": np.array([-1, -2]), "w": np.array([3])}


@pytest.mark.parametrize("axes", ["hw", "negative"])
def test_the_mean_over_the_image_is_global_average_pool(axes: str) -> None:
    model = graph(
        "(float[2,3,5,7] x) => (float[2,3,1,1] y) "
        f"{{ y = ReduceMean <keepdims = 1> (x, {axes}) }}",
        **_AXES,
    )
    assert apply(model, NormalizePooling())
    assert ops(model) == {"GlobalAveragePool": 1}


def test_without_kept_dims_a_flatten_follows() -> None:
    model = graph(
        "(float[batch,3,5,7] x) => (float[batch,3] y) { y = ReduceMean <keepdims = 0> (x, hw) }",
        **_AXES,
    )
    assert apply(model, NormalizePooling())
    assert ops(model) == {"GlobalAveragePool": 1, "Flatten": 1}


def test_a_window_over_the_whole_image_is_global_average_pool() -> None:
    model = graph(
        "(float[2,3,5,7] x) => (float[2,3,1,1] y) { y = AveragePool <kernel_shape = [5,7]> (x) }"
    )
    assert apply(model, NormalizePooling())
    assert ops(model) == {"GlobalAveragePool": 1}


@pytest.mark.parametrize(
    "body",
    [
        "(float[2,3,5,7] x) => (float[2,3,5,1] y) { y = ReduceMean (x, w) }",
        "(float[2,3,5,7] x) => (float[1,1,1,1] y) { y = ReduceMean (x) }",
        "(float[2,3,5,5,7] x) => (float[2,3,1,1,7] y) { y = ReduceMean (x, hw) }",
        (
            "(float[2,3,5,7] x) => (float[2,3,r,s] y) "
            "{ y = AveragePool <kernel_shape = [5,7], pads = [1,1,1,1]> (x) }"
        ),
        "(float[2,3,5,7] x) => (float[2,3,3,3] y) { y = AveragePool <kernel_shape = [3,5]> (x) }",
    ],
)
def test_other_means_stay(body: str) -> None:
    assert not apply(graph(body, **_AXES), NormalizePooling())
