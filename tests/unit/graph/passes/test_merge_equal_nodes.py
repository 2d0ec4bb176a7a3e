from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.merge_equal_nodes import MergeEqualNodes
from tests.unit.graph.onnx_text import apply, graph, ops


def test_equal_nodes_and_what_reads_them_are_merged() -> None:
    model = graph(
        "(float[2,3] x) => (float[2,3] y) { a = ReduceMean (x, one) b = ReduceMean (x, two) "
        "c = Sub (x, a) d = Sub (x, b) y = Mul (c, d) }",
        one=np.array([1]),
        two=np.array([1]),
    )
    assert apply(model, MergeEqualNodes())
    assert ops(model) == {"ReduceMean": 1, "Sub": 1, "Mul": 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = Sub (x, z) b = Sub (z, x) y = Mul (a, b)",
        "a = Softmax <axis = 0> (x) b = Softmax <axis = 1> (x) y = Mul (a, b)",
        "a = Add (x, one) b = Add (x, other) y = Mul (a, b)",
    ],
)
def test_different_nodes_stay(body: str) -> None:
    model = graph(
        f"(float[2,3] x, float[2,3] z) => (float[2,3] y) {{ {body} }}",
        one=np.array([1], np.float32),
        other=np.array([2], np.float32),
    )
    assert not apply(model, MergeEqualNodes())


def test_equal_outputs_keep_their_names() -> None:
    model = graph("(float[2] x) => (float[2] y, float[2] z) { y = Neg (x) z = Neg (x) }")
    assert not apply(model, MergeEqualNodes())


def test_an_output_takes_the_place_of_a_value_that_is_none() -> None:
    model = graph(
        "(float[2] x) => (float[2] y, float[2] z) { a = Neg (x) y = Neg (x) z = Abs (a) }"
    )
    assert apply(model, MergeEqualNodes())
    assert ops(model) == {"Neg": 1, "Abs": 1}


def test_both_outputs_of_a_split_are_merged() -> None:
    model = graph(
        "(float[4] x) => (float[2] y) { a, b = Split <num_outputs = 2> (x) "
        "c, d = Split <num_outputs = 2> (x) e = Sub (a, d) f = Sub (c, b) y = Mul (e, f) }"
    )
    assert apply(model, MergeEqualNodes())
    assert ops(model) == {"Split": 1, "Sub": 1, "Mul": 1}


def test_random_numbers_are_drawn_anew() -> None:
    model = graph(
        "(float[2] x) => (float[2] y) { a = RandomNormalLike (x) b = RandomNormalLike (x) "
        "y = Sub (a, b) }"
    )
    assert not MergeEqualNodes()(model).modified
