from __future__ import annotations

import pytest

from edgekit.graph.passes.fuse_gemm import FuseGemm
from tests.unit.graph.onnx_text import apply, graph, ops, random


@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), ()])
@pytest.mark.parametrize("add", ["Add (m, b)", "Add (b, m)"])
def test_a_dense_layer_is_gemm(shape: tuple[int, ...], add: str) -> None:
    model = graph(
        f"(float[3,4] x) => (float[3,5] y) {{ m = MatMul (x, w) y = {add} }}",
        w=random(4, 5),
        b=random(*shape),
    )
    assert apply(model, FuseGemm())
    assert ops(model) == {"Gemm": 1}


def test_a_matmul_without_bias_is_gemm_and_another_add_stays() -> None:
    model = graph(
        "(float[3,4] x, float[3,5] z) => (float[3,5] y) { m = MatMul (x, w) y = Add (m, z) }",
        w=random(4, 5),
    )
    assert apply(model, FuseGemm())
    assert ops(model) == {"Gemm": 1, "Add": 1}


def test_a_bias_per_row_stays_an_add() -> None:
    model = graph(
        "(float[3,4] x) => (float[3,5] y) { m = MatMul (x, w) y = Add (m, b) }",
        w=random(4, 5),
        b=random(3, 1),
    )
    assert apply(model, FuseGemm())
    assert ops(model) == {"Gemm": 1, "Add": 1}


@pytest.mark.parametrize(
    "body",
    [
        "(float[2,3,4] x) => (float[2,3,5] y) { y = MatMul (x, w) }",
        "(float[3,4] x, float[4,5] v) => (float[3,5] y) { y = MatMul (x, v) }",
    ],
)
def test_other_products_stay(body: str) -> None:
    assert not apply(graph(body, w=random(4, 5)), FuseGemm())
