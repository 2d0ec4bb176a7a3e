from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.graph.passes.fuse_gelu import FuseGelu
from tests.unit.graph.onnx_text import apply, graph, node, ops

_CONSTANTS = {
    "half": np.float32(0.5),
    "one": np.float32(1),
    "root2": np.float32(np.sqrt(2)),
    "inverse": np.float32(1 / np.sqrt(2)),
    "two": np.float32(2),
    "three": np.float32(3),
    "c": np.float32(0.044715),
    "k": np.float32(np.sqrt(2 / np.pi)),
}


def _graph(body: str) -> ir.Model:
    constants = {name: np.asarray(value) for name, value in _CONSTANTS.items()}
    return graph(f"(float[2,3,8] x) => (float[2,3,8] y) {{ {body} }}", **constants)


@pytest.mark.parametrize(
    "body",
    [
        "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)",
        "d = Mul (x, inverse) e = Erf (d) a = Add (one, e) m = Mul (a, x) y = Mul (half, m)",
        "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (half, x) y = Mul (m, a)",
        "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (a, half) y = Mul (x, m)",
        "d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Div (a, two) y = Mul (x, m)",
    ],
)
def test_every_order_of_the_exact_form_is_fused(body: str) -> None:
    model = _graph(body)
    assert apply(model, FuseGelu())
    assert node(model, "Gelu").attributes["approximate"].as_string() == "none"


@pytest.mark.parametrize(
    "body",
    [
        (
            "p = Pow (x, three) q = Mul (p, c) s = Add (x, q) t = Mul (s, k) u = Tanh (t) "
            "v = Add (u, one) m = Mul (x, half) y = Mul (m, v)"
        ),
        (
            "x2 = Mul (x, x) p = Mul (x2, x) q = Mul (c, p) s = Add (q, x) t = Mul (k, s) "
            "u = Tanh (t) v = Add (one, u) m = Mul (x, v) y = Mul (half, m)"
        ),
        (
            "x2 = Mul (x, x) q = Mul (x2, c) w = Add (q, one) s = Mul (x, w) t = Mul (s, k) "
            "u = Tanh (t) v = Add (u, one) h = Mul (v, half) y = Mul (x, h)"
        ),
    ],
)
def test_every_order_of_the_approximation_is_fused(body: str) -> None:
    model = _graph(body)
    assert apply(model, FuseGelu())
    assert node(model, "Gelu").attributes["approximate"].as_string() == "tanh"


def test_another_scale_is_no_gelu_and_leaves_a_reason() -> None:
    model = _graph("e = Erf (x) a = Add (e, one) m = Mul (x, a) y = Mul (m, half)")
    graph_pass = FuseGelu()
    assert not apply(model, graph_pass)
    assert "Erf is no part of a Gelu" in graph_pass.notes[0].text


def test_the_product_with_another_value_is_no_gelu() -> None:
    model = graph(
        (
            "(float[2,8] x, float[2,8] z) => (float[2,8] y) "
            "{ d = Div (x, root2) e = Erf (d) a = Add (e, one) m = Mul (z, a) y = Mul (m, half) }"
        ),
        **{name: np.asarray(value) for name, value in _CONSTANTS.items()},
    )
    assert not apply(model, FuseGelu())
    assert "Gelu" not in ops(model)
