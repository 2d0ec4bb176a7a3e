"""Values of a graph seen and replaced in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import InputError, UnsupportedError, UsageError
from edgekit.graph.forced_graph import GIVEN, forced_graph
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.graph.reference import ReferenceSession
from tests.qdq_graphs import insert_qdq
from tests.unit.quantization.graph_builder import GraphBuilder

type Array = npt.NDArray[Any]

FEEDS = {"x": np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)}


def network() -> ir.Model:
    """conv, relu, conv; the sum of both reads the first relu as well."""
    b = GraphBuilder()
    first = b.relu("r1", b.conv("c1", b.input("x", 1, 3, 6, 6), 3, 4))
    second = b.conv("c2", first, 4, 4)
    return b.build(b.node("Add", "sum", first, second))


def values_of(model: ir.Model, *names: str) -> dict[str, Array]:
    """An independent look at inner values."""
    proto = ir.to_proto(model)
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        type(proto.graph.output[0])(name=name) for name in names if name not in known
    )
    with ReferenceSession(ir.from_proto(proto), optimization="disabled") as session:
        return session.run(FEEDS)


def test_float_values_are_seen_as_they_are() -> None:
    model = network()
    session = ObservedGraph(model, "runtime")
    assert [tensor.canonical for tensor in session.tensors] == ["c1", "r1", "c2", "sum"]
    assert [tensor.layer for tensor in session.tensors] == ["c1", "r1", "c2", "sum"]
    assert [tensor.is_output for tensor in session.tensors] == [False, False, False, True]
    expected = values_of(model, "c1", "r1", "c2")
    for name, array in session.observe(FEEDS).items():
        np.testing.assert_array_equal(array, expected[name])
    assert session.runtime == "runtime"


def test_operators_run_on_given_values() -> None:
    session = ObservedGraph(network(), "runtime")
    given = {name: array + 1 for name, array in session.observe(FEEDS).items()}
    found = session.compute(FEEDS, given).values
    np.testing.assert_array_equal(found["r1"], np.maximum(given["c1"], 0))
    np.testing.assert_allclose(found["sum"], given["r1"] + given["c2"], rtol=1e-6)
    np.testing.assert_array_equal(found["c1"], session.observe(FEEDS)["c1"])


def test_what_is_not_given_is_computed() -> None:
    session = ObservedGraph(network(), "runtime")
    given = {"c1": -np.ones((1, 4, 6, 6), np.float32)}
    found = session.compute(FEEDS, {**given, "sum": np.zeros((1, 4, 6, 6), np.float32)}).values
    # r1 is 0 throughout, so c2 is its bias.
    assert found.keys() == {"c1", "sum"}
    assert np.ptp(found["sum"], axis=(2, 3)).max() < 1e-6


def test_a_pair_is_one_tensor() -> None:
    model = insert_qdq(network(), FEEDS)
    session = ObservedGraph(model, "runtime")
    by_name = {tensor.canonical: tensor for tensor in session.tensors}
    # c1 is between a layer and its activation, and stays float.
    assert by_name.keys() == {"x", "c1", "r1", "c2", "sum"}
    assert by_name["c1"].steps is None
    r1 = by_name["r1"]
    assert (r1.dtype, r1.operators, r1.layer) == ("int8", ("Relu", "QuantizeLinear"), "r1")
    assert r1.steps is not None
    assert "r1/dequantized" in r1.aliases
    assert by_name["x"].operators == ("QuantizeLinear",)
    assert by_name["sum"].is_output
    expected = values_of(model, "r1/dequantized", "sum")
    found = session.observe(FEEDS)
    np.testing.assert_array_equal(found[r1.name], expected["r1/dequantized"])
    np.testing.assert_array_equal(found[by_name["sum"].name], expected["sum"])


def test_a_pair_computes_with_its_operator() -> None:
    session = ObservedGraph(insert_qdq(network(), FEEDS), "runtime")
    by_name = {tensor.canonical: tensor for tensor in session.tensors}
    r1, c1 = by_name["r1"], by_name["c1"]
    assert r1.steps is not None
    given = session.observe(FEEDS)
    given[c1.name] = given[c1.name] * 3
    found = session.compute(FEEDS, given).values
    np.testing.assert_array_equal(found[r1.name], r1.steps.nearest(np.maximum(given[c1.name], 0)))


def test_values_as_readers_read_them() -> None:
    session = ObservedGraph(insert_qdq(network(), FEEDS), "runtime")
    r1 = next(tensor for tensor in session.tensors if tensor.canonical == "r1")
    assert r1.steps is not None
    values = np.array([1e6, -3.0, 0.1], np.float32)
    np.testing.assert_array_equal(session.represent(r1.name, values), r1.steps.nearest(values))


def test_a_value_that_is_read_as_float_and_as_integers() -> None:
    """The pair behind it is the same value again; its error is that of the operator, too."""
    b = GraphBuilder()
    x = b.relu("r", b.input("x", 1, 3, 6, 6))
    scale, zero = b.constant("s", 0.1), b.constant("z", np.array(0, np.int8))
    q = b.node("QuantizeLinear", "q", x, scale, zero)
    d = b.node("DequantizeLinear", "d", q, scale, zero)
    session = ObservedGraph(b.build(b.node("Add", "sum", x, d)), "runtime")
    assert [(t.name, t.canonical) for t in session.tensors] == [
        ("r", "r"), ("q", "r"), ("sum", "sum"),
    ]  # fmt: skip
    zeros = np.zeros((1, 3, 6, 6), np.float32)
    found = session.compute(FEEDS, {"r": zeros, "q": zeros, "sum": zeros}).values
    relu = np.maximum(FEEDS["x"], 0)
    np.testing.assert_array_equal(found["r"], relu)
    assert np.abs(found["q"] - relu).max() <= 0.0501
    np.testing.assert_array_equal(found["sum"], zeros)


def test_integer_values_are_hidden() -> None:
    b = GraphBuilder()
    best = b.node("ArgMax", "best", b.relu("r", b.input("x", 1, 3, 6, 6)), axis=1)
    model = b.build(b.node("Cast", "out", best, to=1))
    session = ObservedGraph(model, "runtime")
    assert [tensor.name for tensor in session.tensors] == ["r", "out"]
    assert session.hidden == {"best": "holds INT64, no real numbers"}


def test_a_scale_for_each_channel_is_refused() -> None:
    b = GraphBuilder()
    scale, zero = b.constant("s", np.full(3, 0.1)), b.constant("z", np.zeros(3, np.int8))
    q = b.node("QuantizeLinear", "q", b.relu("r", b.input("x", 1, 3, 6, 6)), scale, zero)
    model = b.build(b.node("DequantizeLinear", "d", q, scale, zero))
    with pytest.raises(UnsupportedError, match=r"'q' .* more than one constant scale"):
        ObservedGraph(model, "runtime")


def test_wrong_feeds_and_a_closed_session() -> None:
    session = ObservedGraph(network(), "runtime")
    with pytest.raises(InputError, match="No value for input 'x'"):
        session.observe({})
    session.close()
    with pytest.raises(UsageError, match="is closed"):
        session.observe(FEEDS)


def test_a_forced_graph_reads_what_is_given() -> None:
    model = network()
    forced = forced_graph(model, ["r1"])
    assert [value.name for value in forced.graph.inputs] == ["x", f"r1{GIVEN}"]
    assert [value.name for value in forced.graph.outputs] == ["r1"]
    assert [value.name for value in model.graph.outputs] == ["sum"]
    kept = forced_graph(model, ["r1"], lambda _, node: node.op_type == "Add")
    readers = {use.node.name for value in kept.graph.inputs[1:] for use in value.uses()}
    assert readers == {"c2"}
