from __future__ import annotations

import pytest

from edgekit.graph.passes.expand_vector_factors import ExpandVectorFactors
from tests.unit.graph.onnx_text import apply, graph, ops, random


@pytest.mark.parametrize(
    ("left", "right", "result", "made"),
    [
        ("4", "4", "", {"Unsqueeze": 2, "MatMul": 1, "Squeeze": 1}),
        ("4", "4,3", "3", {"Unsqueeze": 1, "MatMul": 1, "Squeeze": 1}),
        ("4", "2,4,3", "2,3", {"Unsqueeze": 1, "MatMul": 1, "Squeeze": 1}),
        ("2,3,4", "4", "2,3", {"Unsqueeze": 1, "MatMul": 1, "Squeeze": 1}),
    ],
)
def test_vectors_become_matrices(left: str, right: str, result: str, made: dict[str, int]) -> None:
    model = graph(
        f"(float[{left}] x, float[{right}] z) => (float[{result}] y) {{ y = MatMul (x, z) }}"
    )
    assert apply(model, ExpandVectorFactors())
    assert ops(model) == made


def test_a_constant_vector_is_a_constant_matrix() -> None:
    model = graph("(float[2,3,4] x) => (float[2,3] y) { y = MatMul (x, w) }", w=random(4))
    assert apply(model, ExpandVectorFactors())
    assert ops(model) == {"MatMul": 1, "Squeeze": 1}


def test_matrices_stay() -> None:
    model = graph("(float[2,3,4] x) => (float[2,3,5] y) { y = MatMul (x, w) }", w=random(4, 5))
    assert not apply(model, ExpandVectorFactors())
