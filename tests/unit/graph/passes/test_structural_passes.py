from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.metadata import METADATA_KEY
from edgekit.errors import InputError
from edgekit.graph.passes.finish_names import FinishNames
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.lift_constants import LiftConstants
from edgekit.graph.passes.remove_dead import RemoveDead
from edgekit.graph.passes.simplify_softmax import SimplifySoftmax
from edgekit.graph.passes.strip_metadata import StripMetadata
from edgekit.graph.signature import dims_of
from tests.unit.graph.onnx_text import apply, graph, node, ops, proto, random


def test_constants_of_every_form_become_initializers() -> None:
    model = ir.from_proto(
        proto(
            "(float[2] x) => (float[2] y) { a = Constant <value_float = 2.0> () "
            "b = Constant <value_floats = [1.0, 2.0]> () "
            "c = Constant <value = float[2] {3.0, 4.0}> () "
            "d = Add (a, b) e = Add (d, c) y = Mul (x, e) }"
        )
    )
    assert apply(model, LiftConstants())
    assert sorted(model.graph.initializers) == ["a", "b", "c"]
    assert "Constant" not in ops(model)


def test_a_constant_output_and_strings_stay() -> None:
    model = ir.from_proto(
        proto(
            "(float[2] x) => (float[2] y, float z) { z = Constant <value_float = 2.0> () "
            'y = Abs (x) s = Constant <value_string = "text"> () }'
        )
    )
    graph_pass = LiftConstants()
    assert not graph_pass(model).modified
    assert "strings" in graph_pass.notes[0].text


def test_dead_nodes_and_initializers_go() -> None:
    model = graph(
        "(float[2] x, float[2] unused) => (float[2] y) { a = Neg (x) b = Mul (a, w) y = Abs (x) }",
        w=random(2),
    )
    assert apply(model, RemoveDead())
    assert ops(model) == {"Abs": 1}
    assert not model.graph.initializers
    assert [value.name for value in model.graph.inputs] == ["x", "unused"]


def test_inference_follows_the_batch_through_a_reshape() -> None:
    model = ir.from_proto(
        proto(
            "(float[batch,3,4] x) => (float[n,5] y) { a = Reshape (x, shape) "
            "b = Reshape (a, shape) y = MatMul (b, w) }",
            shape=np.array([-1, 12]),
            w=random(12, 5),
        )
    )
    model.graph.outputs[0].shape = None
    assert apply(model, InferShapes())
    assert [dims_of(item.outputs[0]) for item in model.graph] == [
        ("batch", 12), ("batch", 12), ("batch", 5),
    ]  # fmt: skip


def test_inference_invents_no_symbols() -> None:
    model = ir.from_proto(proto("(float[n] x) => (int64[1,k] y) { y = NonZero (x) }"))
    model.graph.outputs[0].shape = None
    InferShapes()(model)
    assert dims_of(model.graph.outputs[0]) == (1, "?")


def test_a_contradiction_is_an_error_with_the_reason_of_onnx() -> None:
    model = ir.from_proto(
        proto("(float[2,3] x, float[4,5] z) => (float[2,5] y) { y = MatMul (x, z) }")
    )
    with pytest.raises(InputError, match=r"contradicts itself; .* says: .*MatMul"):
        InferShapes()(model)


def test_names_are_unique_and_order_is_stable() -> None:
    model = graph(
        "(float[2] x) => (float[2] y) { a = Add (x, v) b = Add (a, w) y = Abs (b) }",
        w=random(2),
        v=random(2),
    )
    for item in model.graph:
        item.name = "same" if item.op_type == "Add" else ""
    FinishNames()(model)
    assert [item.name for item in model.graph] == ["same", "Add_b", "Abs_y"]
    assert list(model.graph.initializers) == ["v", "w"]
    assert model.graph.name == "main_graph"


def test_everything_but_the_computation_and_edgekits_metadata_is_stripped() -> None:
    model = graph("(float[2] x) => (float[2] y) { y = Abs (x) }")
    model.metadata_props.update({METADATA_KEY: "{}", "exporter": "/home/user/model.py"})
    model.producer_version = "1.2.3"
    item = node(model, "Abs")
    item.metadata_props["stack_trace"] = 'File "/home/user/model.py", line 3'
    item.outputs[0].metadata_props["note"] = "x"
    item.doc_string = "doc"
    StripMetadata()(model)
    content = ir.to_proto(model).SerializeToString()
    assert b"home" not in content
    assert b"doc" not in content
    assert dict(model.metadata_props) == {METADATA_KEY: "{}"}


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_reshapes_around_softmax_go_where_rows_are_the_last_axis(op: str) -> None:
    model = graph(
        f"(float[1,5,3] x) => (float[1,5,3] y) {{ a = Flatten <axis = 2> (x) "
        f"b = {op} <axis = -1> (a) y = Reshape (b, shape) }}",
        shape=np.array([1, 5, 3]),
    )
    assert apply(model, SimplifySoftmax())
    assert ops(model) == {op: 1}


def test_rows_over_several_axes_stay() -> None:
    model = graph(
        "(float[2,5,3] x) => (float[2,5,3] y) { a = Flatten <axis = 1> (x) "
        "b = Softmax <axis = -1> (a) y = Reshape (b, shape) }",
        shape=np.array([2, 5, 3]),
    )
    assert not apply(model, SimplifySoftmax())
