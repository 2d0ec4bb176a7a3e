from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.fold_constants import FoldConstants
from edgekit.graph.passes.remove_dead import RemoveDead
from edgekit.graph.values import constant_ints
from tests.unit.graph.onnx_text import apply, graph, node, ops, random


def test_shapes_of_static_values_fold_through_arithmetic() -> None:
    model = graph(
        "(float[2,3,4] x) => (float[6,4] y) { s = Shape (x) n = Gather (s, zero) "
        "c = Gather (s, one) p = Mul (n, c) u = Unsqueeze (p, axis) "
        "t = Concat <axis = 0> (u, rest) y = Reshape (x, t) }",
        zero=np.asarray(0),
        one=np.asarray(1),
        axis=np.array([0]),
        rest=np.array([4]),
    )
    assert apply(model, FoldConstants())
    RemoveDead()(model)
    assert ops(model) == {"Reshape": 1}
    assert constant_ints(node(model, "Reshape").inputs[1]) == (6, 4)


def test_a_symbolic_batch_becomes_minus_one_in_the_target_of_reshape() -> None:
    model = graph(
        "(float[batch,3,4] x) => (float[batch,12] y) { s = Shape (x) n = Gather (s, zero) "
        "u = Unsqueeze (n, axis) t = Concat <axis = 0> (u, rest) y = Reshape (x, t) }",
        zero=np.asarray(0),
        axis=np.array([0]),
        rest=np.array([12]),
    )
    assert apply(model, FoldConstants())
    RemoveDead()(model)
    assert constant_ints(node(model, "Reshape").inputs[1]) == (-1, 12)


def test_slices_and_parts_of_shapes_fold() -> None:
    model = graph(
        "(float[batch,3,4] x) => (int64[1] a, int64[2] b) { "
        "s = Shape (x) p = Slice (s, one, two) a = Neg (p) "
        "q = Shape <start = -2> (x) b = Neg (q) }",
        one=np.array([1]),
        two=np.array([2]),
    )
    assert apply(model, FoldConstants())
    assert [constant_ints(item.inputs[0]) for item in model.graph if item.op_type == "Neg"] == [
        (3,), (3, 4),
    ]  # fmt: skip


def test_two_free_dims_stay_with_a_reason() -> None:
    model = graph(
        "(float[batch,3,4] x, int64[2] t) => (float[n,m] y) { y = Reshape (x, t) }",
    )
    graph_pass = FoldConstants()
    assert not graph_pass(model).modified
    assert "more than one free dim" in graph_pass.notes[0].text


def test_constant_subgraphs_are_evaluated_and_keep_their_names() -> None:
    model = graph(
        "(float[1,4] x) => (float[1,3] y) { t = Transpose (w) s = Mul (t, t) y = MatMul (x, s) }",
        w=random(3, 4),
    )
    assert apply(model, FoldConstants())
    RemoveDead()(model)
    assert ops(model) == {"MatMul": 1}
    assert list(model.graph.initializers) == ["s"]


def test_nodes_with_several_outputs_fold() -> None:
    model = graph(
        "(float[1,2] x) => (float[1,2] y) { a, b = Split <axis = 0, num_outputs = 2> (w) "
        "c = Mul (x, a) y = Mul (c, b) }",
        w=random(2, 2),
    )
    assert apply(model, FoldConstants())
    assert ops(model) == {"Mul": 2}


@pytest.mark.parametrize(
    "body", ["q = DequantizeLinear (i, s)", "q = RandomNormalLike <seed = 1.0> (w)"]
)
def test_quantization_and_random_ops_stay(body: str) -> None:
    model = graph(
        f"(float[2] x) => (float[2] y) {{ {body} y = Add (x, q) }}",
        i=np.array([1, 2], np.int8),
        s=np.asarray(0.5, np.float32),
        w=random(2),
    )
    assert not FoldConstants()(model).modified


def test_a_constant_that_would_grow_beyond_the_limit_stays_with_a_reason() -> None:
    model = graph(
        "(float[1] x) => (float[2000,2000] y) { z = Expand (v, size) y = Add (x, z) }",
        v=random(1),
        size=np.array([2000, 2000]),
    )
    graph_pass = FoldConstants()
    assert not graph_pass(model).modified
    assert "much larger" in graph_pass.notes[0].text


def test_a_constant_output_stays_a_node() -> None:
    model = graph(
        "(float[1] x) => (float[1] y, float[2] z) { y = Abs (x) z = Neg (w) }", w=random(2)
    )
    assert not apply(model, FoldConstants())


_LOOP = (
    "Loop <body = steps (int64 i, bool go, float[1] a) => (bool more, float[1] b) "
    "{ more = Identity (go) b = Add (a, other) }> (trips, go_on, start)"
)


def test_a_loop_over_constants_folds_with_what_it_captures() -> None:
    model = graph(
        f"(float[3] x) => (float[3] y) {{ v = {_LOOP.replace('other', 'step')} y = Mul (x, v) }}",
        trips=np.asarray(4),
        go_on=np.asarray(True),
        start=np.array([1], np.float32),
        step=np.array([0.5], np.float32),
    )
    assert apply(model, FoldConstants())
    RemoveDead()(model)
    assert ops(model) == {"Mul": 1}
    assert list(model.graph.initializers) == ["v"]


def test_a_loop_that_captures_an_input_stays() -> None:
    model = graph(
        f"(float[1] x) => (float[1] v) {{ v = {_LOOP.replace('other', 'x')} }}",
        trips=np.asarray(4),
        go_on=np.asarray(True),
        start=np.array([1], np.float32),
    )
    assert not apply(model, FoldConstants())


def test_a_constant_sequence_is_followed() -> None:
    model = graph(
        "(float[3] x) => (float[3] y) { e = SequenceEmpty () s = SequenceInsert (e, a) "
        "t = SequenceInsert (s, b) v = SequenceAt (t, last) y = Mul (x, v) }",
        a=random(3),
        b=random(3, seed=1),
        last=np.asarray(1),
    )
    assert apply(model, FoldConstants())
    RemoveDead()(model)
    assert ops(model) == {"Mul": 1}
    assert not FoldConstants()(model).modified


def test_a_sequence_of_an_input_stays() -> None:
    model = graph(
        "(float[3] x) => (float[3] y) { e = SequenceEmpty () s = SequenceInsert (e, x) "
        "y = SequenceAt (s, first) }",
        first=np.asarray(0),
    )
    assert not apply(model, FoldConstants())
