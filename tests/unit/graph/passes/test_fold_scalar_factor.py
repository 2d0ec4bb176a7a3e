from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.fold_scalar_factor import FoldScalarFactor
from tests.unit.graph.onnx_text import apply, graph, ops, random

FACTOR = np.array(0.25, np.float32)
ATTENTION = """(float[1,6,8] x) => (float[1,2,6,6] y) {
    p = MatMul (x, wq) q = Add (p, bq) k = MatMul (x, wk)
    qs = Reshape (q, s) qh = Transpose <perm = [0, 2, 1, 3]> (qs)
    ks = Reshape (k, s) kt = Transpose <perm = [0, 2, 3, 1]> (ks)
    SCORES y = Softmax (a)
}"""
HEADS = np.array([1, 6, 2, 4])


@pytest.mark.parametrize(
    "scores",
    [
        "m = MatMul (qh, kt) a = Mul (m, f)",
        "m = MatMul (qh, kt) a = Mul (f, m)",
        "m = MatMul (qh, kt) a = Div (m, f)",
        "qf = Mul (qh, f) a = MatMul (qf, kt)",
        "qf = Mul (qh, f) kf = Mul (kt, f) a = MatMul (qf, kf)",
    ],
)
def test_the_scale_of_attention_goes_into_the_layers(scores: str) -> None:
    model = graph(
        ATTENTION.replace("SCORES", scores),
        wq=random(8, 8), bq=random(8), wk=random(8, 8), s=HEADS, f=FACTOR,
    )  # fmt: skip
    assert apply(model, FoldScalarFactor())
    assert ops(model) == {"MatMul": 3, "Add": 1, "Reshape": 2, "Transpose": 2, "Softmax": 1}


def test_layers_with_a_bias_and_weights_that_others_share() -> None:
    model = graph(
        "(float[2,3,4,4] x, float[2,4] v) => (float[2,48] y, float[2,3] z, float[2,48] u) { "
        "c = Conv (x, w, b) r = Flatten (c) y = Mul (r, f) "
        "g = Gemm <alpha = 0.5, beta = 2.0> (v, m, n) z = Mul (g, f) "
        "d = Conv (x, w, b) u = Flatten (d) }",
        w=random(3, 3, 1, 1), b=random(3), m=random(4, 3), n=random(3), f=FACTOR,
    )  # fmt: skip
    assert apply(model, FoldScalarFactor())
    assert ops(model) == {"Conv": 2, "Flatten": 2, "Gemm": 1}


@pytest.mark.parametrize(
    "body",
    [
        "c = MatMul (x, w) o = Mul (c, f) p = Relu (c) y = Add (o, p)",  # another reader
        "c = MatMul (x, w) r = Relu (c) y = Mul (r, f)",  # not linear
        "c = MatMul (x, w) y = Mul (c, negative)",  # a negative factor may be a sign to keep
        "c = MatMul (x, w) y = Mul (c, vector)",  # not one number
        "y = Mul (x, f)",  # no layer
        "c = MatMul (x, w) d = Add (c, x) y = Mul (d, f)",  # a sum of activations
    ],
)
def test_what_stays(body: str) -> None:
    model = graph(
        f"(float[2,4] x) => (float[2,4] y) {{ {body} }}",
        w=random(4, 4), f=FACTOR, vector=random(4), negative=-FACTOR,
    )  # fmt: skip
    assert not apply(model, FoldScalarFactor())
