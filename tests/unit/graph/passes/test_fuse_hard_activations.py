from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.fuse_hard_activations import FuseHardActivations
from edgekit.graph.passes.remove_dead import RemoveDead
from tests.unit.graph.onnx_text import apply, graph, ops

_CONSTANTS = {
    "three": np.asarray(3, np.float32),
    "zero": np.asarray(0, np.float32),
    "six": np.asarray(6, np.float32),
    "sixth": np.asarray(1 / 6, np.float32),
    "seven": np.asarray(7, np.float32),
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a = Add (x, three) c = Clip (a, zero, six) y = Div (c, six)", "HardSigmoid"),
        ("a = Add (three, x) c = Clip (a, zero, six) y = Mul (sixth, c)", "HardSigmoid"),
        (
            "a = Add (x, three) c = Clip (a, zero, six) d = Div (c, six) y = Mul (x, d)",
            "HardSwish",
        ),
        (
            "a = Add (x, three) c = Clip (a, zero, six) m = Mul (c, x) y = Div (m, six)",
            "HardSwish",
        ),
        (
            "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Mul (m, sixth)",
            "HardSwish",
        ),
        (
            "s = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (s, x)",
            "HardSwish",
        ),
    ],
)
def test_the_decomposed_forms_are_single_nodes(body: str, expected: str) -> None:
    model = graph(f"(float[2,3,40] x) => (float[2,3,40] y) {{ {body} }}", **_CONSTANTS)
    assert apply(model, FuseHardActivations())
    RemoveDead()(model)
    assert ops(model) == {expected: 1}


@pytest.mark.parametrize(
    "body",
    [
        "a = Add (x, three) c = Clip (a, zero, seven) y = Div (c, six)",
        "a = Add (x, six) c = Clip (a, zero, six) y = Div (c, six)",
        "a = Add (x, three) c = Clip (a, zero, six) y = Div (c, seven)",
        "s = HardSigmoid <alpha = 0.2, beta = 0.5> (x) y = Mul (s, x)",
        "s = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (s, three)",
    ],
)
def test_other_constants_stay(body: str) -> None:
    model = graph(f"(float[2,3,40] x) => (float[2,3,40] y) {{ {body} }}", **_CONSTANTS)
    assert not apply(model, FuseHardActivations())
