"""LSTM, GRU and RNN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import (
    Refusal,
    float_attribute,
    int_attribute,
    optional_input,
    required_input,
    text_attribute,
)
from edgekit.targets.coreml.lowering.emitter import Emitter, is_open, shape_of
from edgekit.targets.coreml.lowering.registry import Var, lowers

_ACTIVATIONS = {"Tanh": "tanh", "Sigmoid": "sigmoid", "Relu": "relu"}
_CELLS = {
    "LSTM": (4, ("Sigmoid", "Tanh", "Tanh")),
    "GRU": (3, ("Sigmoid", "Tanh")),
    "RNN": (1, ("Tanh",)),
}
_MOST_STEPS = 512
_ACCEPTS = "constant weights, no sequence lengths, Tanh, Sigmoid or Relu"


@dataclass(frozen=True, slots=True)
class _Layer:
    """Weights of one direction, gates in ONNX's order: ``[gates, hidden, ...]``."""

    kernel: Any
    recurrent: Any
    bias: Any
    recurrent_bias: Any
    peephole: Any
    activations: tuple[str, ...]
    backward: bool


@lowers("LSTM", "GRU", "RNN", accepts=_ACCEPTS)
def lower_recurrent(e: Emitter, node: ir.Node) -> list[Var | None]:
    """One MIL operator a direction, the results side by side as ONNX wants them."""
    layers = _read(e, node)
    x = e.input(node, 0)
    if int_attribute(node, "layout", 0):
        x = e("transpose", x=x, perm=[1, 0, 2])
    states = [
        _states(e, node, x, index, len(layers)) for index in (5, 6)[: 1 + (node.op_type == "LSTM")]
    ]
    results = []
    for at, layer in enumerate(layers):
        turned = e("reverse", x=x, axes=[0]) if layer.backward else x
        own = [state[at] for state in states]
        outputs = _CELL[node.op_type](e, node, turned, own, layer)
        sequence = e("reverse", x=outputs[0], axes=[0]) if layer.backward else outputs[0]
        results.append([sequence, *outputs[1:]])
    return _together(e, node, results)


def _read(e: Emitter, node: ir.Node) -> list[_Layer]:
    gates, defaults = _CELLS[node.op_type]
    if optional_input(node, 4) is not None:
        lengths = e.array(optional_input(node, 4))
        steps = shape_of(e.input(node, 0))[1 if int_attribute(node, "layout", 0) else 0]
        if lengths is None or is_open(steps) or (lengths != int(steps)).any():
            raise Refusal("sequence lengths", "sequences of full length")
    if int_attribute(node, "input_forget", 0):
        raise Refusal("coupled input and forget gates", "separate gates")
    direction = text_attribute(node, "direction", "forward")
    backward = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    attribute = node.attributes.get("activations")
    names = list(defaults) * len(backward) if attribute is None else list(attribute.as_strings())
    for name in ("activation_alpha", "activation_beta"):
        if name in node.attributes:
            raise Refusal(f"activations with {name}", _ACCEPTS)
    unknown = [name for name in names if name not in _ACTIVATIONS]
    if unknown:
        raise Refusal(f"activation {unknown[0]}", _ACCEPTS)
    kernel, recurrent = (e.required_array(node, index, "weights") for index in (1, 2))
    hidden = recurrent.shape[-1]
    bias: Any = np.zeros((len(backward), 2 * gates * hidden), np.float32)
    if optional_input(node, 3) is not None:
        bias = e.required_array(node, 3, "bias")
    peephole = None
    if node.op_type == "LSTM" and optional_input(node, 7) is not None:
        peephole = e.required_array(node, 7, "peepholes")
    each = len(names) // len(backward)
    return [
        _Layer(
            kernel=kernel[at].reshape(gates, hidden, -1),
            recurrent=recurrent[at].reshape(gates, hidden, -1),
            bias=bias[at][: gates * hidden].reshape(gates, hidden),
            recurrent_bias=bias[at][gates * hidden :].reshape(gates, hidden),
            peephole=None if peephole is None else peephole[at].reshape(3, hidden),
            activations=tuple(_ACTIVATIONS[name] for name in names[at * each : at * each + each]),
            backward=turned,
        )
        for at, turned in enumerate(backward)
    ]


def _states(e: Emitter, node: ir.Node, x: Var, index: int, directions: int) -> list[Var]:
    """First state of each direction: ``[batch, hidden]``."""
    hidden = int_attribute(node, "hidden_size", 0)
    hidden = hidden or e.required_array(node, 2, "weights").shape[-1]
    if optional_input(node, index) is None:
        batch = shape_of(x)[1]
        if is_open(batch):
            shape = e("concat", values=[
                e("slice_by_index", x=e("shape", x=x), begin=[1], end=[2]),
                np.array([hidden], np.int32),
            ], axis=0)  # fmt: skip
            return [e("fill", shape=shape, value=np.float32(0))] * directions
        return [e.constant(np.zeros((int(batch), hidden), np.float32))] * directions
    state = e.input(node, index)
    if int_attribute(node, "layout", 0):
        state = e("transpose", x=state, perm=[1, 0, 2])
    if directions == 1:
        return [e("squeeze", x=state, axes=[0])]
    return [e("squeeze", x=part, axes=[0]) for part in e("split", x=state, num_splits=2, axis=0)]


def _ordered(array: Any, order: list[int]) -> Any:
    """Gates in another order, joined along the first axis."""
    chosen = array[order]
    return np.ascontiguousarray(chosen.reshape(-1, *chosen.shape[2:]), np.float32)


def _lstm(e: Emitter, node: ir.Node, x: Var, states: list[Var], layer: _Layer) -> list[Var]:
    """ONNX has gates i, o, f, c and peepholes i, o, f; MIL i, f, o, z and i, f, o."""
    order = [0, 2, 1, 3]
    clip = float_attribute(node, "clip", 0.0)
    if "clip" in node.attributes and clip <= 0:
        raise Refusal("a clip of 0", "a positive clip")
    sequence, hidden, cell = e(
        "lstm",
        x=x,
        initial_h=states[0],
        initial_c=states[1],
        weight_ih=_ordered(layer.kernel, order),
        weight_hh=_ordered(layer.recurrent, order),
        bias=_ordered(layer.bias + layer.recurrent_bias, order),
        peephole=None if layer.peephole is None else _ordered(layer.peephole, [0, 2, 1]),
        direction="forward",
        output_sequence=True,
        recurrent_activation=layer.activations[0],
        cell_activation=layer.activations[1],
        activation=layer.activations[2],
        clip=np.float32(clip) if clip else None,
    )
    return [sequence, hidden, cell]


def _gru(e: Emitter, node: ir.Node, x: Var, states: list[Var], layer: _Layer) -> list[Var]:
    """Step by step: MIL's definition leaves open where its reset gate stands.

    With ``linear_before_reset`` ``h' = (1 - z) * act(W x + b + r * (R h + rb)) + z * h`` (cuDNN's
    form), else ``act(W x + b + R (r * h) + rb)``. Gates come in ONNX's order z, r, h.
    """
    if "clip" in node.attributes:
        raise Refusal("a clip of a GRU", "none")
    after = bool(int_attribute(node, "linear_before_reset", 0))
    steps = shape_of(x)[0]
    if is_open(steps) or int(steps) > _MOST_STEPS:
        raise Refusal("a GRU over an open or long sequence", f"at most {_MOST_STEPS} steps")
    hidden = layer.recurrent.shape[1]
    gate, act = layer.activations
    state = states[0]
    inputs = e("linear", x=x, weight=_ordered(layer.kernel, [0, 1, 2]),
               bias=layer.bias.reshape(-1).astype(np.float32))  # fmt: skip
    recurrent, shift = layer.recurrent, layer.recurrent_bias.astype(np.float32)
    gates = _ordered(recurrent, [0, 1])
    found = []
    for step in range(int(steps)):
        at = e("gather", x=inputs, indices=np.int32(step), axis=0)
        xz, xr, xh = e("split", x=at, num_splits=3, axis=1)
        own = e("linear", x=state, weight=gates, bias=shift[:2].reshape(2 * hidden))
        hz, hr = e("split", x=own, num_splits=2, axis=1)
        z, r = (e(gate, x=e("add", x=a, y=b)) for a, b in ((xz, hz), (xr, hr)))
        weight, bias = _ordered(recurrent, [2]), shift[2]
        if after:
            term = e("mul", x=r, y=e("linear", x=state, weight=weight, bias=bias))
        else:
            term = e("linear", x=e("mul", x=r, y=state), weight=weight, bias=bias)
        new = e(act, x=e("add", x=xh, y=term))
        state = e("add", x=new, y=e("mul", x=z, y=e("sub", x=state, y=new)))
        found.append(state)
    return [e("stack", values=found, axis=0), state]


def _rnn(e: Emitter, node: ir.Node, x: Var, states: list[Var], layer: _Layer) -> list[Var]:
    """A plain recurrent layer."""
    if "clip" in node.attributes:
        raise Refusal("a clip of an RNN", "none")
    sequence, hidden = e(
        "rnn",
        x=x,
        initial_h=states[0],
        weight_ih=_ordered(layer.kernel, [0]),
        weight_hh=_ordered(layer.recurrent, [0]),
        bias=_ordered(layer.bias + layer.recurrent_bias, [0]),
        direction="forward",
        output_sequence=True,
        activation=layer.activations[0],
    )
    return [sequence, hidden]


_CELL = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def _together(e: Emitter, node: ir.Node, results: list[list[Var]]) -> list[Var | None]:
    """Sequence ``[steps, directions, batch, hidden]``, states ``[directions, batch, hidden]``."""
    first = int_attribute(node, "layout", 0)
    found: list[Var | None] = []
    for at, output in enumerate(node.outputs):
        if not output.uses() and not output.is_graph_output():
            found.append(None)
            continue
        axis = 1 if at == 0 else 0
        parts = [e("expand_dims", x=result[at], axes=[axis]) for result in results]
        whole = parts[0] if len(parts) == 1 else e("concat", values=parts, axis=axis)
        if first:
            whole = e("transpose", x=whole, perm=[2, 0, 1, 3] if at == 0 else [1, 0, 2])
        found.append(whole)
    required_input(node, 0)
    return found
