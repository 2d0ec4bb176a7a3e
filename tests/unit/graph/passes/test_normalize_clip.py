from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.graph.passes.normalize_clip import NormalizeClip
from edgekit.graph.values import constant_scalar, input_at
from tests.unit.graph.onnx_text import apply, graph, node, ops

_CONSTANTS = {
    "low": np.asarray(-1, np.float32),
    "zero": np.asarray(0, np.float32),
    "six": np.asarray(6, np.float32),
}


def _bounds(model: ir.Model) -> tuple[float | None, float | None]:
    clip = node(model, "Clip")
    return constant_scalar(input_at(clip, 1)), constant_scalar(input_at(clip, 2))


@pytest.mark.parametrize(
    ("body", "bounds"),
    [
        ("a = Max (x, zero) y = Min (a, six)", (0.0, 6.0)),
        ("a = Min (six, x) y = Max (low, a)", (-1.0, 6.0)),
        ("a = Relu (x) y = Clip (a, low, six)", (0.0, 6.0)),
        ('a = Relu (x) y = Clip (a, "", six)', (0.0, 6.0)),
    ],
)
def test_bounding_ops_become_clip(body: str, bounds: tuple[float, float]) -> None:
    model = graph(f"(float[4,50] x) => (float[4,50] y) {{ {body} }}", **_CONSTANTS)
    assert apply(model, NormalizeClip())
    assert ops(model) == {"Clip": 1}
    assert _bounds(model) == bounds


@pytest.mark.parametrize("body", ["y = Clip (x, zero)", "a = Relu (x) y = Clip (a, low)"])
def test_a_lower_bound_of_zero_alone_is_relu(body: str) -> None:
    model = graph(f"(float[4,50] x) => (float[4,50] y) {{ {body} }}", **_CONSTANTS)
    assert apply(model, NormalizeClip())
    assert ops(model) == {"Relu": 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = Max (x, six) y = Min (a, zero)",
        "y = Clip (x, low, six)",
        "a = Max (x, x) y = Min (a, six)",
        "a = Relu (x) b = Clip (a, zero, six) y = Add (a, b)",
    ],
)
def test_other_graphs_stay(body: str) -> None:
    model = graph(f"(float[4,50] x) => (float[4,50] y) {{ {body} }}", **_CONSTANTS)
    assert not apply(model, NormalizeClip())


def test_integers_stay() -> None:
    model = graph(
        "(int64[4] x) => (int64[4] y) { a = Max (x, zero) y = Min (a, six) }",
        zero=np.asarray(0),
        six=np.asarray(6),
    )
    assert not apply(model, NormalizeClip())


def test_bounds_that_are_inputs_stay_with_a_reason() -> None:
    model = graph("(float[4] x, float low) => (float[4] y) { y = Clip (x, low) }")
    graph_pass = NormalizeClip()
    assert not apply(model, graph_pass)
    assert "bounds that are not constant" in graph_pass.notes[0].text
