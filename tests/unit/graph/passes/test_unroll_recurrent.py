from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import onnx_ir as ir
import pytest

from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.recurrent_cells import GATES
from edgekit.graph.passes.unroll_recurrent import MAX_STEPS, UnrollRecurrent
from edgekit.graph.reference import ReferenceSession
from tests.unit.graph.onnx_text import apply, assert_close, graph, ops, proto_at, random

BATCH, INPUT, HIDDEN = 2, 3, 5
NODE_TESTS = Path(onnx.backend.test.__file__).parent / "data" / "node"
UNROLLED = [
    "gru_batchwise", "gru_defaults", "gru_with_initial_bias", "lstm_batchwise", "lstm_defaults",
    "lstm_with_initial_bias", "simple_rnn_batchwise", "simple_rnn_defaults",
    "simple_rnn_with_initial_bias", "gru_seq_length", "rnn_seq_length",
]  # fmt: skip
PARTS = {"LSTM": "y, h, c", "GRU": "y, h", "RNN": "y, h"}


def layer(
    op: str,
    *,
    steps: int = 4,
    directions: int = 1,
    attributes: str = "",
    initial: bool = True,
    bias: bool = True,
    lengths: str = "",
) -> ir.Model:
    """A graph of one recurrent node that reads ``x`` and states, and gives all outputs."""
    gates, states = GATES[op], {"LSTM": "h0, c0", "GRU": "h0", "RNN": "h0"}[op]
    hidden = f"hidden_size = {HIDDEN}"
    attributes = f"{hidden}, {attributes}" if attributes else hidden
    shape = f"float[{directions},{BATCH},{HIDDEN}]"
    inputs = ", ".join(
        [f"float[{steps},{BATCH},{INPUT}] x"]
        + [f"{shape} {name}" for name in states.split(", ") if initial]
    )
    names = PARTS[op].split(", ")
    outputs = ", ".join(
        [f"float[{steps},{directions},{BATCH},{HIDDEN}] y", *(f"{shape} {n}" for n in names[1:])]
    )
    operands = f"x, w, r, {'b' if bias else ''}, {lengths}, {states if initial else ''}"
    text = (
        f"({inputs}) => ({outputs}) {{ "
        f"{PARTS[op]} = {op} <{attributes}> ({operands.rstrip(', ')}) }}"
    )
    weights: dict[str, Any] = {
        "w": random(directions, gates * HIDDEN, INPUT),
        "r": random(directions, gates * HIDDEN, HIDDEN, seed=1),
    }
    if bias:
        weights["b"] = random(directions, 2 * gates * HIDDEN, seed=2)
    if lengths:
        weights[lengths] = np.full(BATCH, steps, np.int32)
    model = graph(text, **weights)
    next(iter(model.graph)).name = "layer_1"
    return model


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "zero"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "bare"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LSTM", ""),
        ("GRU", ""),
        ("GRU", "linear_before_reset = 1"),
        ("RNN", ""),
    ],
)
def test_every_form_computes_the_same(
    op: str, attributes: str, direction: str, *, bias: bool, initial: bool
) -> None:
    directions = 2 if direction == "bidirectional" else 1
    text = ", ".join(filter(None, [f'direction = "{direction}"', attributes]))
    model = layer(op, directions=directions, attributes=text, initial=initial, bias=bias)
    assert apply(model, UnrollRecurrent())
    assert op not in ops(model)


@pytest.mark.parametrize("op", GATES)
def test_one_step_is_not_sliced(op: str) -> None:
    model = layer(op, steps=1)
    assert apply(model, UnrollRecurrent())
    assert "Slice" not in ops(model)
    assert "Concat" not in ops(model)


def test_the_input_is_projected_once_and_weights_are_shared() -> None:
    model = layer("LSTM", steps=6, initial=False)
    assert apply(model, UnrollRecurrent())
    # One projection; the first step has no state.
    assert ops(model) == {
        "MatMul": 6, "Add": 1 + 2 * 5, "Slice": 6, "Split": 6, "Sigmoid": 3 * 6 - 1,
        "Tanh": 2 * 6, "Mul": 3 * 6 - 1, "Concat": 1, "Unsqueeze": 1,
    }  # fmt: skip
    read = [node.inputs[1] for node in model.graph if node.op_type == "MatMul"]
    assert len(set(read)) == 2
    assert [value.name for value in dict.fromkeys(read) if value is not None] == [
        "layer_1/W", "layer_1/R",
    ]  # fmt: skip


def test_names_tell_the_layer_and_the_step() -> None:
    model = layer("GRU", directions=2, attributes='direction = "bidirectional"')
    assert apply(model, UnrollRecurrent())
    names = {node.name for node in model.graph}
    assert {"layer_1/forward/projection", "layer_1/reverse/step_3/update"} <= names
    assert len(names) == len(list(model.graph))


def test_outputs_that_nothing_reads_are_not_built() -> None:
    text = "(float[3,1,2] x) => (float[1,1,5] h) { y, h = RNN <hidden_size = 5> (x, w, r) }"
    model = graph(text, w=random(1, 5, 2), r=random(1, 5, 5))
    assert apply(model, UnrollRecurrent())
    assert "Concat" not in ops(model)


def test_relu_and_a_dynamic_batch() -> None:
    text = (
        "(float[3,batch,2] x) => (float[3,1,batch,5] y) "
        '{ y = RNN <hidden_size = 5, activations = ["Relu"]> (x, w, r) }'
    )
    model = graph(text, w=random(1, 5, 2), r=random(1, 5, 5))
    assert apply(model, UnrollRecurrent())
    assert ops(model)["Relu"] == 3


def test_constant_zero_states_and_whole_lengths_are_left_out() -> None:
    zeros = np.zeros((1, 2, 5), np.float32)
    text = (
        "(float[2,2,3] x) => (float[2,1,2,5] y) { y = GRU <hidden_size = 5> (x, w, r, , l, h0) }"
    )
    lengths = np.array([2, 2], np.int32)
    model = graph(text, w=random(1, 15, 3), r=random(1, 15, 5), h0=zeros, l=lengths)
    assert apply(model, UnrollRecurrent())
    assert ops(model)["MatMul"] == 3


@pytest.mark.parametrize("name", UNROLLED)
def test_onnx_node_tests(name: str, tmp_path: Path) -> None:
    folder = NODE_TESTS / f"test_{name}"
    proto = onnx.load(folder / "model.onnx")
    proto.opset_import[0].version = 20
    arrays = [
        onnx.numpy_helper.to_array(onnx.load_tensor(folder / f"test_data_set_0/input_{index}.pb"))
        for index in range(len(proto.graph.input))
    ]
    feed = proto.graph.input[0].name
    for value, array in zip(list(proto.graph.input)[1:], arrays[1:], strict=True):
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
        proto.graph.input.remove(value)
    model = ir.from_proto(proto)
    InferShapes()(model)
    assert UnrollRecurrent()(model).modified
    onnx.checker.check_model(ir.to_proto(model))
    path = tmp_path / "unrolled.onnx"
    onnx.save(ir.to_proto(model), path)
    results = ReferenceSession(path).run({feed: arrays[0]})
    for index, actual in enumerate(results.values()):
        expected = onnx.load_tensor(folder / f"test_data_set_0/output_{index}.pb")
        assert_close(actual, onnx.numpy_helper.to_array(expected))


KEPT = {
    "it has the attribute clip": {"attributes": "clip = 1.0"},
    "its input and forget gates are coupled (input_forget)": {"attributes": "input_forget = 1"},
    "it has the activation HardSigmoid": {
        "attributes": 'activations = ["HardSigmoid", "Tanh", "Tanh"]'
    },
    f"its sequence has {MAX_STEPS + 1} steps; at most {MAX_STEPS} are unrolled": {
        "steps": MAX_STEPS + 1
    },
}


@pytest.mark.parametrize("reason", KEPT)
def test_other_forms_stay_with_a_reason(reason: str) -> None:
    arguments: Any = KEPT[reason]
    graph_pass = UnrollRecurrent()
    assert not apply(layer("LSTM", **arguments), graph_pass)
    assert [(note.where, note.text) for note in graph_pass.notes] == [("layer_1", reason)]


OPEN = {
    "the length of its sequence is not fixed": "(float[time,1,2] x) => (float[time,1,1,5] y) "
    "{ y = LSTM <hidden_size = 5> (x, w, r) }",
    "it has peepholes (input P)": "(float[3,1,2] x) => (float[3,1,1,5] y) "
    "{ y = LSTM <hidden_size = 5> (x, w, r, , , , , p) }",
    "its weights are no constants": "(float[3,1,2] x, float[1,20,2] v) => (float[3,1,1,5] y) "
    "{ y = LSTM <hidden_size = 5> (x, v, r) }",
    "sequence_lens gives sequences a length of their own": "(float[3,1,2] x) => "
    "(float[3,1,1,5] y) { y = LSTM <hidden_size = 5> (x, w, r, , l) }",
}


@pytest.mark.parametrize("reason", OPEN)
def test_open_forms_stay_with_a_reason(reason: str) -> None:
    weights = {"w": random(1, 20, 2), "r": random(1, 20, 5), "p": random(1, 15),
               "l": np.array([2], np.int32)}  # fmt: skip
    model = ir.from_proto(proto_at(20, OPEN[reason], **weights))
    graph_pass = UnrollRecurrent()
    assert not graph_pass(model).modified
    assert [note.text for note in graph_pass.notes] == [reason]
