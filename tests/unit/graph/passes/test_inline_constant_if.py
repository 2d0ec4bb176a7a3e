from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.passes.inline_constant_if import InlineConstantIf
from tests.unit.graph.onnx_text import apply, graph, ops

_BRANCHES = (
    "<then_branch = t () => (float[2] o) { a = Relu (x) o = Neg (a) }, "
    "else_branch = e () => (float[2] o) { o = Neg (x) }>"
)


@pytest.mark.parametrize(
    ("condition", "expected"), [(True, {"Relu": 1, "Neg": 1}), (False, {"Neg": 1})]
)
def test_the_branch_taken_replaces_the_node(
    condition: bool,
    expected: dict[str, int],
) -> None:
    model = graph(
        f"(float[2] x) => (float[2] y) {{ y = If (c) {_BRANCHES} }}", c=np.array(condition)
    )
    assert apply(model, InlineConstantIf())
    assert ops(model) == expected


def test_branches_with_equal_names_do_not_collide() -> None:
    model = graph(
        f"(float[2] x) => (float[2] y) {{ p = If (c) {_BRANCHES} q = If (c) {_BRANCHES} "
        "y = Add (p, q) }",
        c=np.array(True),
    )
    assert apply(model, InlineConstantIf())
    assert ops(model) == {"Relu": 2, "Neg": 2, "Add": 1}


def test_a_branch_that_gives_out_its_own_constant() -> None:
    model = graph(
        "(float[2] x) => (float[2] y) { z = If (c) <then_branch = t () => (float[2] o) "
        "<float[2] o = {1.0, 2.0}> { n = Neg (x) }, "
        "else_branch = e () => (float[2] o) { o = Neg (x) }> y = Add (x, z) }",
        c=np.array(True),
    )
    assert apply(model, InlineConstantIf())
    assert ops(model) == {"Neg": 1, "Identity": 1, "Add": 1}


def test_a_condition_of_shapes_is_constant_after_folding() -> None:
    model = graph(
        "(float[2,1] x) => (float[2] y) { s = Shape (x) i = Gather (s, one) "
        "c = Equal (i, one) y = If (c) <then_branch = t () => (float[2] o) "
        "{ a = Constant <value = int64[1] {1}> () o = Squeeze (x, a) }, "
        "else_branch = e () => (float[2,1] o) { o = Identity (x) }> }",
        one=np.asarray(1),
    )
    assert ops(canonicalize(model).model) == {"Squeeze": 1}


def test_a_computed_condition_stays_with_a_reason() -> None:
    model = graph(f"(float[2] x, bool c) => (float[2] y) {{ y = If (c) {_BRANCHES} }}")
    graph_pass = InlineConstantIf()
    assert not apply(model, graph_pass)
    assert "known only when it runs" in graph_pass.notes[0].text
