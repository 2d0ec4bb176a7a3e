from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.equivalence import EquivalenceCheck
from edgekit.graph.passes.fuse_group_norm import FuseGroupNorm
from tests.unit.graph.onnx_text import apply, graph, node, ops, random

_BODY = (
    "a = Reshape (x, groups) n = InstanceNormalization <epsilon = 0.01> (a, s, b) "
    "y = Reshape (n, whole)"
)
_READ_TWICE = (
    "a = Reshape (x, groups) n = InstanceNormalization (a, s, b) z = Add (n, n) "
    "y = Reshape (z, whole)"
)


@pytest.mark.parametrize(("batch", "whole"), [("2", [2, 6, 5, 4]), ("batch", [-1, 6, 5, 4])])
def test_a_reshaped_instance_norm_is_one_node(batch: str, whole: list[int]) -> None:
    model = graph(
        f"(float[{batch},6,5,4] x) => (float[{batch},6,5,4] y) {{ {_BODY} }}",
        groups=np.array([0, 3, 40]),
        whole=np.array(whole),
        s=random(3),
        b=random(3, seed=1),
    )
    check = EquivalenceCheck(model)
    assert FuseGroupNorm()(model).modified
    assert all(difference.relative < 1e-5 for difference in check.compare(model))
    assert ops(model) == {"GroupNormalization": 1}
    fused = node(model, "GroupNormalization")
    assert fused.attributes["num_groups"].as_int() == 3
    assert fused.attributes["epsilon"].as_float() == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("groups", "body"),
    [
        # Groups that cut a channel.
        ([2, 4, 30], _BODY),
        # The batch is part of the groups.
        ([1, 6, 40], _BODY),
        # The normalized groups are read by others.
        ([2, 3, 40], _READ_TWICE),
        ([2, 3, 40], _BODY.replace("(a, s, b)", "(a, t, b)")),
    ],
)  # fmt: skip
def test_other_reshapes_stay(groups: list[int], body: str) -> None:
    count = groups[1]
    model = graph(
        f"(float[2,6,5,4] x, float[{count}] t) => (float[2,6,5,4] y) {{ {body} }}",
        groups=np.array(groups),
        whole=np.array([2, 6, 5, 4]),
        s=random(count),
        b=random(count, seed=1),
    )
    assert not apply(model, FuseGroupNorm())
