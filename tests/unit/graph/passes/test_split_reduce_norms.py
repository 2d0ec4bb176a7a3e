from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.split_reduce_norms import SplitReduceNorms
from tests.unit.graph.onnx_text import apply, graph, ops


@pytest.mark.parametrize(
    ("op", "made"),
    [
        ("ReduceL1", {"Abs": 1, "ReduceSum": 1}),
        ("ReduceL2", {"Mul": 1, "ReduceSum": 1, "Sqrt": 1}),
        ("ReduceSumSquare", {"Mul": 1, "ReduceSum": 1}),
    ],
)
@pytest.mark.parametrize(
    ("attributes", "operands", "shape"),
    [
        ("keepdims = 1", "x, a", "2,1,4"),
        ("keepdims = 0", "x, a", "2,4"),
        ("keepdims = 0", "x", ""),
        ("noop_with_empty_axes = 0", "x", "1,1,1"),
    ],
)
def test_norms_are_sums(
    op: str, made: dict[str, int], attributes: str, operands: str, shape: str
) -> None:
    model = graph(
        f"(float[2,3,4] x) => (float[{shape}] y) {{ y = {op} <{attributes}> ({operands}) }}",
        a=np.array([1]),
    )
    assert apply(model, SplitReduceNorms())
    assert ops(model) == made
