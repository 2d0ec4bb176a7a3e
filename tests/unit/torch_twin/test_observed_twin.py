"""Values of a torch twin seen and replaced."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import ConfigError, UsageError
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.graph.torch_twin.observed_twin import ObservedTwin
from tests.qdq_graphs import insert_qdq
from tests.unit.graph.test_observed_graph import FEEDS, network


def test_it_is_the_graph_in_onnx_runtime() -> None:
    twin, graph = ObservedTwin(network()), ObservedGraph(network(), "")
    assert [(t.canonical, t.layer, t.is_output) for t in twin.tensors] == [
        (t.canonical, t.layer, t.is_output) for t in graph.tensors
    ]
    found, expected = twin.observe(FEEDS), graph.observe(FEEDS)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5)
    given = {name: array - 0.5 for name, array in expected.items()}
    computed, wanted = twin.compute(FEEDS, given), graph.compute(FEEDS, given)
    assert computed.refused == {}
    for name, array in wanted.values.items():
        np.testing.assert_allclose(computed.values[name], array, atol=1e-5)
    assert twin.runtime.startswith("torch ")


def test_given_arrays_are_not_changed() -> None:
    twin = ObservedTwin(network())
    given = {name: array.copy() for name, array in twin.observe(FEEDS).items()}
    before = {name: array.copy() for name, array in given.items()}
    twin.compute(FEEDS, given)
    for name, array in before.items():
        np.testing.assert_array_equal(given[name], array)


def test_a_qdq_graph_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"give its \.qdq\.onnx file instead"):
        ObservedTwin(insert_qdq(network(), FEEDS))


def test_a_closed_twin() -> None:
    twin = ObservedTwin(network())
    twin.close()
    with pytest.raises(UsageError, match="is closed"):
        twin.observe(FEEDS)
