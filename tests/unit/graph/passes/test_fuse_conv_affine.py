from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.fuse_conv_affine import FuseConvAffine
from tests.unit.graph.onnx_text import apply, graph, ops, positive, random


@pytest.mark.parametrize("op", ["Mul", "Div", "Add", "Sub"])
@pytest.mark.parametrize("shape", [(5, 1, 1), (1, 5, 1, 1), (1,), (), (1, 1, 1, 1)])
def test_per_channel_constants_fold(op: str, shape: tuple[int, ...]) -> None:
    model = graph(
        f"(float[1,3,4,4] x) => (float[1,5,4,4] y) {{ c = Conv (x, w, b) y = {op} (c, k) }}",
        w=random(5, 3, 1, 1),
        b=random(5),
        k=positive(*shape),
    )
    assert apply(model, FuseConvAffine())
    assert ops(model) == {"Conv": 1}


@pytest.mark.parametrize("op", ["Mul", "Add", "Div", "Sub"])
def test_a_constant_on_the_left_folds_only_where_the_op_commutes(op: str) -> None:
    model = graph(
        f"(float[1,3,4,4] x) => (float[1,5,4,4] y) {{ c = Conv (x, w) y = {op} (k, c) }}",
        w=random(5, 3, 1, 1),
        k=positive(1, 5, 1, 1),
    )
    assert apply(model, FuseConvAffine()) is (op in {"Mul", "Add"})


def test_a_chain_folds_into_grouped_transposed_convolution_and_gemm() -> None:
    model = graph(
        "(float[2,4,3,3] x, float[2,4] v) => (float[2,6,6,6] y, float[2,3] z) { "
        "c = ConvTranspose <group = 2, strides = [2, 2]> (x, w) "
        "d = Mul (c, k) y = Add (d, k) g = Gemm <alpha = 0.5> (v, u) z = Mul (g, m) }",
        w=random(4, 3, 2, 2),
        k=random(6, 1, 1),
        u=random(4, 3),
        m=random(3),
    )
    assert apply(model, FuseConvAffine())
    assert ops(model) == {"ConvTranspose": 1, "Gemm": 1}


@pytest.mark.parametrize(
    ("constant", "reason"),
    [
        (random(1, 1, 4, 4), "not per channel"),
        (random(2, 5, 1, 1), "not per channel"),
    ],
)
def test_constants_along_other_axes_stay_with_a_reason(
    constant: np.ndarray[tuple[int, ...], np.dtype[np.float32]], reason: str
) -> None:
    batch = constant.shape[0]
    model = graph(
        f"(float[1,3,4,4] x) => (float[{batch},5,4,4] y) {{ c = Conv (x, w) y = Add (c, k) }}",
        w=random(5, 3, 1, 1),
        k=constant,
    )
    graph_pass = FuseConvAffine()
    assert not apply(model, graph_pass)
    assert reason in graph_pass.notes[0].text


def test_a_shared_convolution_stays_with_a_reason() -> None:
    model = graph(
        "(float[1,3,4,4] x) => (float[1,5,4,4] y, float[1,5,4,4] c) "
        "{ c = Conv (x, w) y = Mul (c, k) }",
        w=random(5, 3, 1, 1),
        k=random(5, 1, 1),
    )
    graph_pass = FuseConvAffine()
    assert not apply(model, graph_pass)
    assert "other readers" in graph_pass.notes[0].text


def test_division_by_zero_is_not_hidden_in_the_weights() -> None:
    model = graph(
        "(float[1,3,4,4] x) => (float[1,2,4,4] y) { c = Conv (x, w) y = Div (c, k) }",
        w=random(2, 3, 1, 1),
        k=np.array([[[1.0]], [[0.0]]], np.float32),
    )
    graph_pass = FuseConvAffine()
    assert not apply(model, graph_pass)
    assert "zero" in graph_pass.notes[0].text
