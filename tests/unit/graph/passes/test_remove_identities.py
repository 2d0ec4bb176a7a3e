from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.graph.passes.remove_identities import RemoveIdentities
from tests.unit.graph.onnx_text import apply, graph, ops

_CONSTANTS = {
    "pads": np.zeros(4, np.int64),
    "pad": np.array([0, 1, 0, 1]),
    "shape": np.array([2, 6]),
    "other": np.array([3, 4]),
    "free": np.array([-1, 6]),
    "start": np.array([0, 0]),
    "end": np.array([9, 9]),
    "back": np.array([-2, -1]),
    "one": np.asarray(1, np.float32),
    "zeros": np.zeros((1, 6), np.float32),
    "many": np.ones((3, 1, 1), np.float32),
    "axis": np.array([0]),
    "false": np.asarray(False),
    "true": np.asarray(True),
    "ratio": np.asarray(0.5, np.float32),
}


def _graph(body: str, output: str = "2,6") -> ir.Model:
    return graph(
        f"(float[2,6] x) => (float[{output}] y) {{ a = Neg (x) {body} y = Abs (b) }}",
        **_CONSTANTS,
    )


@pytest.mark.parametrize(
    "body",
    [
        "b = Identity (a)",
        "b = Dropout (a)",
        "b = Dropout (a, ratio, false)",
        "b = Cast <to = 1> (a)",
        "b = Transpose <perm = [0, 1]> (a)",
        "b = Reshape (a, shape)",
        "b = Flatten <axis = 1> (a)",
        "b = Expand (a, shape)",
        "b = Pad (a, pads)",
        "b = Slice (a, start, end)",
        "b = Concat <axis = 0> (a)",
        "b = Sum (a)",
        "b = Max (a)",
        "b = Split <axis = 0, num_outputs = 1> (a)",
        "b = Mul (a, one)",
        "b = Mul (one, a)",
        "b = Div (a, one)",
        "b = Add (zeros, a)",
        "b = Sub (a, zeros)",
    ],
)
def test_nodes_that_change_nothing_go(body: str) -> None:
    model = _graph(body)
    assert apply(model, RemoveIdentities())
    assert ops(model) == {"Neg": 1, "Abs": 1}


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("b = Transpose (a)", "6,2"),
        ("b = Transpose <perm = [1, 0]> (a)", "6,2"),
        ("b = Reshape (a, other)", "3,4"),
        ("b = Pad (a, pad)", "2,8"),
        ("b = Slice (a, start, back)", "0,5"),
        ("b = Concat <axis = 0> (a, a)", "4,6"),
        ("b = Sum (a, a)", "2,6"),
        ("b = Add (a, one)", "2,6"),
        ("b = Sub (zeros, a)", "2,6"),
        ("b = Div (one, a)", "2,6"),
        ("b = Mul (a, many)", "3,2,6"),
    ],
)
def test_nodes_that_change_something_stay(body: str, output: str) -> None:
    assert not apply(_graph(body, output), RemoveIdentities())


def test_a_cast_to_another_type_stays() -> None:
    model = graph("(float[2] x) => (float[2] y) { a = Cast <to = 7> (x) y = Cast <to = 1> (a) }")
    assert not apply(model, RemoveIdentities())


def test_dropout_in_training_mode_stays() -> None:
    model = graph(
        "(float[2,6] x) => (float[2,6] y) { a = Dropout (x, ratio, true) y = Mul (a, one) }",
        ratio=np.asarray(0.0, np.float32),
        true=np.asarray(True),
        one=np.asarray([2.0], np.float32),
    )
    assert not apply(model, RemoveIdentities())


def test_dropout_whose_mask_is_read_stays() -> None:
    model = graph("(float[2,6] x) => (float[2,6] y, bool[2,6] mask) { y, mask = Dropout (x) }")
    assert not apply(model, RemoveIdentities())


def test_a_dropout_from_input_to_output_becomes_an_identity() -> None:
    model = graph("(float[2] x) => (float[2] y) { y = Dropout (x) }")
    assert apply(model, RemoveIdentities())
    assert ops(model) == {"Identity": 1}


def test_an_identity_from_input_to_output_stays_with_a_reason() -> None:
    model = graph("(float[2] x) => (float[2] y, float[2] z) { y = Identity (x) z = Abs (x) }")
    graph_pass = RemoveIdentities()
    assert not apply(model, graph_pass)
    assert "names both stay" in graph_pass.notes[0].text


def test_a_value_given_out_twice_keeps_both_names() -> None:
    model = graph("(float[2] x) => (float[2] y, float[2] z) { y = Abs (x) z = Identity (y) }")
    assert not apply(model, RemoveIdentities())


def test_an_output_keeps_its_name_when_the_identity_before_it_goes() -> None:
    model = graph("(float[2] x) => (float[2] y) { a = Abs (x) b = Identity (a) y = Identity (b) }")
    assert apply(model, RemoveIdentities())
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_reshape_with_one_symbolic_dim_of_the_same_shape_goes() -> None:
    model = graph(
        "(float[batch,6] x) => (float[batch,6] y) "
        "{ a = Abs (x) b = Reshape (a, free) y = Neg (b) }",
        free=np.array([-1, 6]),
    )
    assert apply(model, RemoveIdentities())
    assert ops(model) == {"Abs": 1, "Neg": 1}
