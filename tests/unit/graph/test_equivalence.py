from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.signature import TensorSpec
from edgekit.errors import UnsupportedError
from edgekit.graph.equivalence import EquivalenceCheck, difference, random_feeds
from tests.unit.graph.onnx_text import graph, random


def test_feeds_are_seeded_and_of_the_declared_types() -> None:
    specs = (
        TensorSpec(name="x", shape=("batch", 3)),
        TensorSpec(name="u", shape=(200,), dtype="uint8"),
        TensorSpec(name="i", shape=(50,), dtype="int64"),
        TensorSpec(name="b", shape=(50,), dtype="bool"),
    )
    feeds = random_feeds(specs, seed=3, batch=2)
    again = random_feeds(specs, seed=3, batch=2)
    assert {name: array.dtype.name for name, array in feeds.items()} == {
        "x": "float32", "u": "uint8", "i": "int64", "b": "bool",
    }  # fmt: skip
    assert feeds["x"].shape == (2, 3)
    assert feeds["u"].max() > 200
    assert set(np.unique(feeds["i"])) == {0, 1}
    assert all(np.array_equal(feeds[name], again[name]) for name in feeds)
    assert random_feeds(specs, small=True)["u"].max() == 1


def test_strings_cannot_be_random() -> None:
    with pytest.raises(UnsupportedError, match=r"text: string\[1\] cannot be verified"):
        random_feeds((TensorSpec(name="text", shape=(1,), dtype="string"),))


def test_differences_are_relative_to_the_range() -> None:
    found = difference("y", np.array([0.0, 10.0]), np.array([0.0, 9.5]))
    assert (found.max_abs, found.reference_range, found.relative) == (0.5, 10.0, 0.05)
    constant = difference("y", np.array([4.0, 4.0]), np.array([4.0, 5.0]))
    assert (constant.reference_range, constant.relative) == (0.0, 0.25)


def test_nan_and_infinity_must_stand_at_the_same_place() -> None:
    reference = np.array([np.nan, np.inf, 1.0, 2.0])
    assert difference("y", reference, reference.copy()).relative == 0.0
    assert difference("y", reference, np.array([np.nan, -np.inf, 1.0, 2.0])).relative == np.inf
    assert difference("y", reference, np.array([np.nan, np.inf, np.nan, 2.0])).relative == np.inf
    assert difference("y", np.array([np.nan]), np.array([np.nan])).relative == 0.0


@pytest.mark.parametrize(
    "candidate", [np.zeros((2, 1), np.float32), np.zeros(2, np.float64), np.zeros(3, np.float32)]
)
def test_another_shape_or_dtype_is_an_infinite_difference(
    candidate: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    assert difference("y", np.zeros(2, np.float32), candidate).relative == np.inf


def test_booleans_are_equal_or_not() -> None:
    assert difference("y", np.array([True]), np.array([True])).relative == 0.0
    assert difference("y", np.array([True]), np.array([False])).relative == np.inf


def test_a_changed_weight_is_seen() -> None:
    text = "(float[batch,3] x) => (float[batch,2] y) { y = MatMul (x, w) }"
    check = EquivalenceCheck(graph(text, w=random(3, 2)))
    assert check.compare(graph(text, w=random(3, 2)))[0].relative == 0.0
    assert check.compare(graph(text, w=random(3, 2) * 1.01))[0].relative > 1e-3
    assert check.worst > 1e-3


def test_a_batch_baked_in_as_one_is_seen() -> None:
    text = "(float[batch,2,3] x) => (float[n,6] y) { y = Reshape (x, s) }"
    check = EquivalenceCheck(graph(text, s=np.array([-1, 6])))
    with pytest.raises(UnsupportedError, match="cannot run the graph"):
        check.compare(graph(text, s=np.array([1, 6])))


def test_bytes_that_index_a_table_are_made_small() -> None:
    check = EquivalenceCheck(
        graph(
            "(uint8[4] x) => (float[4] y) { i = Cast <to = 7> (x) y = Gather (w, i) }", w=random(5)
        )
    )
    assert check.worst == 0.0
