from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.fuse_layer_norm import FuseLayerNorm
from edgekit.graph.passes.remove_dead import RemoveDead
from edgekit.graph.passes.remove_identities import RemoveIdentities
from tests.unit.graph.onnx_text import apply, graph, node, ops, random

_EPSILON = np.asarray(1e-5, np.float32)
_TWO = np.asarray(2.0, np.float32)


def _body(square: str, after: str, axes: str = "last", root: str = "r = Sqrt (e)") -> str:
    return (
        "(float[2,5,8] x) => (float[2,5,8] y) { "
        f"m = ReduceMean (x, {axes}) d = Sub (x, m) s = {square} v = ReduceMean (s, {axes}) "
        f"e = Add (v, epsilon) {root} {after} }}"
    )


@pytest.mark.parametrize("square", ["Pow (d, two)", "Mul (d, d)"])
@pytest.mark.parametrize(
    ("after", "inputs"),
    [
        ("n = Div (d, r) g = Mul (n, w) y = Add (g, b)", 3),
        ("n = Div (d, r) g = Mul (w, n) y = Add (b, g)", 3),
        ("n = Div (d, r) y = Mul (n, w)", 2),
        ("y = Div (d, r)", 2),
    ],
)
def test_the_decomposed_form_is_one_node(square: str, after: str, inputs: int) -> None:
    model = graph(
        _body(square, after),
        epsilon=_EPSILON,
        two=_TWO,
        last=np.array([-1]),
        w=random(8),
        b=random(8, seed=1),
    )
    assert apply(model, FuseLayerNorm())
    RemoveDead()(model)
    assert ops(model) == {"LayerNormalization": 1}
    fused = node(model, "LayerNormalization")
    assert len(fused.inputs) == inputs
    assert fused.attributes["axis"].as_int() == -1
    assert fused.attributes["epsilon"].as_float() == pytest.approx(1e-5)


@pytest.mark.parametrize(
    ("root", "quotient"),
    [
        ("r = Sqrt (e)", "i = Reciprocal (r) y = Mul (d, i)"),
        ("r = Sqrt (e)", "i = Div (one, r) y = Mul (i, d)"),
        ("i = Pow (e, minus)", "y = Mul (d, i)"),
        ("r = Pow (e, half)", "y = Div (d, r)"),
    ],
)
def test_the_root_may_be_written_in_other_ways(root: str, quotient: str) -> None:
    model = graph(
        _body("Mul (d, d)", quotient, root=root),
        epsilon=_EPSILON,
        last=np.array([-1]),
        one=np.array(1, np.float32),
        minus=np.array(-0.5, np.float32),
        half=np.array(0.5, np.float32),
    )
    assert apply(model, FuseLayerNorm())
    RemoveDead()(model)
    assert ops(model) == {"LayerNormalization": 1}


@pytest.mark.parametrize(("factor", "inputs"), [("f = Mul (i, w)", 3), ("f = Identity (i)", 3)])
def test_the_form_of_keras_is_one_node(factor: str, inputs: int) -> None:
    tail = (
        f"i = Reciprocal (r) {factor} p = Mul (x, f) q = Mul (m, f) t = Sub (b, q) y = Add (p, t)"
    )
    model = graph(
        _body("Mul (d, d)", tail),
        epsilon=_EPSILON,
        last=np.array([-1]),
        w=random(8),
        b=random(8, seed=1),
    )
    RemoveIdentities()(model)
    assert apply(model, FuseLayerNorm())
    RemoveDead()(model)
    assert ops(model) == {"LayerNormalization": 1}
    assert len(node(model, "LayerNormalization").inputs) == inputs


def test_a_mean_of_something_else_stays() -> None:
    tail = "i = Reciprocal (r) p = Mul (x, i) q = Mul (v, i) t = Sub (b, q) y = Add (p, t)"
    model = graph(
        _body("Mul (d, d)", tail), epsilon=_EPSILON, last=np.array([-1]), b=random(8, seed=1)
    )
    assert not apply(model, FuseLayerNorm())


def test_several_last_axes() -> None:
    model = graph(
        _body("Mul (d, d)", "n = Div (d, r) g = Mul (n, w) y = Add (g, b)", "both"),
        epsilon=_EPSILON,
        both=np.array([2, 1]),
        w=random(5, 8),
        b=random(5, 8, seed=1),
    )
    assert apply(model, FuseLayerNorm())
    assert node(model, "LayerNormalization").attributes["axis"].as_int() == -2


def test_a_scale_of_another_shape_stays_a_product() -> None:
    model = graph(
        _body("Mul (d, d)", "n = Div (d, r) y = Mul (n, w)"),
        epsilon=_EPSILON,
        last=np.array([-1]),
        w=random(5, 1),
    )
    assert apply(model, FuseLayerNorm())
    assert ops(model)["Mul"] == 1


def test_other_axes_stay_with_a_reason() -> None:
    model = graph(
        _body("Mul (d, d)", "y = Div (d, r)", "first"), epsilon=_EPSILON, first=np.array([1])
    )
    graph_pass = FuseLayerNorm()
    assert not apply(model, graph_pass)
    assert "not over the last axes" in graph_pass.notes[0].text
