from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import InputError, UnsupportedError
from edgekit.graph.reference import Optimization, ReferenceSession, check_feeds
from tests.unit.graph.onnx_text import graph, proto, random

_TEXT = "(float[batch,3] x, float[batch,3] z) => (float[batch,3] y) { y = Add (x, z) }"


def _session() -> ReferenceSession:
    return ReferenceSession(graph(_TEXT))


def test_runs_by_name_at_any_batch() -> None:
    session = _session()
    for batch in (1, 4):
        x, z = random(batch, 3), random(batch, 3, seed=1)
        np.testing.assert_array_equal(session.run({"x": x, "z": z})["y"], x + z)
    assert session.runtime.startswith("ONNX Runtime 1.")
    assert str(session.signature.outputs[0]) == "y: float32[batch, 3]"


@pytest.mark.parametrize("optimization", ["disabled", "basic", "extended", "all"])
def test_every_optimization_level_and_threads(optimization: Optimization) -> None:
    with ReferenceSession(proto(_TEXT), threads=2, optimization=optimization) as session:
        assert session.run({"x": random(1, 3), "z": random(1, 3)})["y"].shape == (1, 3)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        (
            {"x": random(1, 3)},
            r"No value for input 'z'; got \['x'\], the model expects x: float32",
        ),
        (
            {"x": random(1, 3), "z": random(1, 3), "w": random(1)},
            r"The model has no input 'w'; it expects x: float32\[batch, 3\]; z",
        ),
        (
            {"x": random(1, 4), "z": random(1, 3)},
            r"Input 'x' expects x: float32\[batch, 3\], got float32\[1, 4\]",
        ),
        ({"x": random(3), "z": random(1, 3)}, r"got float32\[3\]"),
        (
            {"x": random(1, 3).astype(np.float64), "z": random(1, 3)},
            r"Input 'x' expects x: float32\[batch, 3\], got float64\[1, 3\]",
        ),
        (
            {"x": random(2, 3), "z": random(1, 3)},
            r"Input 'z' .* got float32\[1, 3\] \(with batch=2 from the inputs before it\)",
        ),
    ],
)
def test_wrong_feeds_name_what_was_expected_and_given(
    feeds: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        _session().run(feeds)


def test_feeds_are_checked_against_a_signature_too() -> None:
    signature = _session().signature
    check_feeds(signature, {"x": random(1, 3), "z": random(1, 3)})
    with pytest.raises(InputError, match="No value for input 'z'"):
        check_feeds(signature, {"x": random(1, 3)})


def test_a_graph_that_the_runtime_refuses() -> None:
    model = proto("(float[2] x) => (float[2] y) { y = Relu (x) }")
    model.graph.node[0].op_type = "Frobnicate"
    with pytest.raises(UnsupportedError, match=r"cannot load the graph: .*Frobnicate"):
        ReferenceSession(model)


def test_a_graph_that_fails_while_running_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    session = ReferenceSession(
        graph("(float[3] x, int64[1] i) => (float[1] y) { y = Gather (x, i) }")
    )
    with pytest.raises(UnsupportedError, match=r"cannot run the graph: .*out of data bounds"):
        session.run({"x": random(3), "i": np.array([7])})
    assert capfd.readouterr() == ("", "")
