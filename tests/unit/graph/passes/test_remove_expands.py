from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.remove_expands import RemoveExpands
from tests.unit.graph.onnx_text import apply, graph, ops


@pytest.mark.parametrize(
    "body",
    ["y = Div (x, e)", "y = Sub (e, x)", "y = Max (x, x, e)", "a = Mul (x, e) y = Add (a, e)"],
)
def test_readers_that_broadcast_read_its_input(body: str) -> None:
    model = graph(
        f"(float[2,3,4] x, float[3,1] z) => (float[2,3,4] y) {{ e = Expand (z, s) {body} }}",
        s=np.array([2, 3, 4]),
    )
    assert apply(model, RemoveExpands())
    assert "Expand" not in ops(model)


@pytest.mark.parametrize(
    "body",
    [
        # The Expand alone gives the sum its size.
        "f = Add (z, e) y = Mul (f, x)",
        "y = Concat <axis = 0> (e, x)",
    ],
)
def test_what_gives_the_result_its_shape_stays(body: str) -> None:
    model = graph(
        f"(float[2,3,4] x, float[3,1] z) => (float[n,3,4] y) {{ e = Expand (z, s) {body} }}",
        s=np.array([2, 3, 4]),
    )
    assert not apply(model, RemoveExpands())


def test_only_some_readers_change() -> None:
    model = graph(
        "(float[2,3] x, float[1] z) => (float[2,3] y, float[2,3] e) "
        "{ e = Expand (z, s) y = Mul (x, e) }",
        s=np.array([2, 3]),
    )
    assert apply(model, RemoveExpands())
    assert ops(model) == {"Expand": 1, "Mul": 1}
    assert not apply(model, RemoveExpands())
