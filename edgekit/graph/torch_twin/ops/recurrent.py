"""LSTM, GRU and RNN: layers of torch where it has the cell and the weights are constant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx, nn

from edgekit.graph.torch_twin.bindings import Layout
from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.registry import Built, Refusal, twin_op
from edgekit.graph.values import Array, input_at, int_attribute, string_attribute

_GATES: dict[str, tuple[int, ...]] = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""For each of torch's gates (ifgo, rzn) its place among ONNX's (iofc, zrh)."""
_ACTIVATIONS = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
_LAYERS: dict[str, Callable[..., nn.Module]] = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


@dataclass(frozen=True, slots=True)
class _Cell:
    """What the attributes of a recurrent node say.

    Attributes:
        op: LSTM, GRU or RNN.
        nonlinearity: Of an RNN: ``"tanh"`` or ``"relu"``.
        directions: 1 or 2.
        reverse: One direction, from the end.
        batch_first: Whether the batch is the first axis.
        reset_first: Whether a GRU multiplies with the reset gate before its recurrent
            weights, which torch's own does not.
    """

    op: str
    nonlinearity: str
    directions: int
    reverse: bool
    batch_first: bool
    reset_first: bool


def _cell(node: ir.Node) -> _Cell:
    op = node.op_type
    direction = string_attribute(node, "direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    attribute = node.attributes.get("activations")
    default = _ACTIVATIONS[op] * directions
    activations = default if attribute is None else list(attribute.as_strings())
    if op == "RNN" and set(activations) in ({"Tanh"}, {"Relu"}):
        default = activations
    if activations != default:
        raise Refusal(f"activations {activations}", f"{_ACTIVATIONS[op]}")
    for name in ("clip", "activation_alpha", "activation_beta"):
        if name in node.attributes:
            raise Refusal(f"attribute {name}", "none")
    if int_attribute(node, "input_forget", 0):
        raise Refusal("coupled gates (input_forget 1)", "input_forget 0")
    if input_at(node, 4) is not None:
        raise Refusal("sequence_lens", "sequences of one length")
    if input_at(node, 7) is not None:
        raise Refusal("peepholes (input P)", "an LSTM without them")
    return _Cell(
        op, activations[0].lower(), directions, direction == "reverse",
        bool(int_attribute(node, "layout", 0)),
        op == "GRU" and not int_attribute(node, "linear_before_reset", 0),
    )  # fmt: skip


@twin_op("LSTM", "GRU", "RNN", parameters=(1, 2, 3))
def build_recurrent(context: TwinContext, node: ir.Node) -> Built:
    """A layer of torch; a function where weights are computed or quantized, or shared."""
    cell = _cell(node)
    x = context.tensor(node, 0)
    if cell.batch_first:
        x = context.call(torch.transpose, x, 0, 1)
    if cell.reverse:
        x = context.call(torch.flip, x, (0,))
    states = [
        _state(context, node, index, cell) for index in (5, 6)[: 2 if cell.op == "LSTM" else 1]
    ]
    result = None if cell.reset_first else _layer(context, node, cell, x, states)
    if result is None:
        function = reset_first_gru if cell.reset_first else recurrent
        weights = [context.tensor(node, 1), context.tensor(node, 2), context.optional(node, 3)]
        extra = () if cell.reset_first else (cell.op, cell.nonlinearity)
        result = context.call(function, x, *weights, states, *extra)
    outputs = context.call(
        onnx_outputs, result, cell.directions, cell.reverse, cell.batch_first, cell.op == "LSTM"
    )
    return [context.item(outputs, index) for index in range(len(node.outputs))]


def _state(context: TwinContext, node: ir.Node, index: int, cell: _Cell) -> fx.Node | None:
    state = context.optional(node, index)
    if state is not None and cell.batch_first:
        return context.call(torch.transpose, state, 0, 1)
    return state


def _layer(
    context: TwinContext, node: ir.Node, cell: _Cell, x: fx.Node, states: list[fx.Node | None]
) -> fx.Node | None:
    """Calls a layer of torch; None where its weights are not of its own."""
    weights = [context.weight(node, index) for index in (1, 2, 3)]
    present = [weight for weight in weights if weight is not None]
    order = _GATES[cell.op]
    layouts = [_matrices(order), _matrices(order), _biases(order)]
    if (
        len(present) < 2
        or context.is_computed(node, 3)
        or any(weight.stored is not None for weight in present)
        or not all(
            context.constants.can_hold(weight, layout)
            for weight, layout in zip(present, layouts, strict=False)
        )
    ):
        return None
    name = context.layer_name(node)
    hidden, inputs = present[1].array.shape[2], present[0].array.shape[2]
    options: dict[str, Any] = {"nonlinearity": cell.nonlinearity} if cell.op == "RNN" else {}
    layer = _LAYERS[cell.op](
        inputs, hidden, bias=len(present) == 3, bidirectional=cell.directions == 2, **options
    )
    for weight, layout, stems in zip(
        present, layouts, (("weight_ih",), ("weight_hh",), ("bias_ih", "bias_hh")), strict=False
    ):
        names = [
            f"{stem}_l0{suffix}"
            for suffix in ("", "_reverse")[: cell.directions]
            for stem in stems
        ]
        paths = tuple(f"{name}.{item}" for item in names)
        parameters = context.constants.leaf_parameters(weight, layout, paths)
        for item, parameter in zip(names, parameters, strict=True):
            setattr(layer, item, parameter)
    context.add_layer(node, name, layer)
    given = next((state for state in states if state is not None), None)
    if given is None:
        return context.call_module(name, x)
    full = [context.call(torch.zeros_like, given) if state is None else state for state in states]
    return context.call_module(name, x, tuple(full) if cell.op == "LSTM" else full[0])


def _matrices(order: Sequence[int]) -> Layout:
    """``[directions, gates * hidden, n]`` to one matrix a direction, gates in torch's order."""

    def to_torch(array: Array) -> tuple[Array, ...]:
        return tuple(_permuted(part, order) for part in array)

    def to_onnx(arrays: tuple[Array, ...]) -> Array:
        return np.stack([_permuted(part, np.argsort(order).tolist()) for part in arrays])

    return Layout(f"gates {tuple(order)}", to_torch, to_onnx)


def _biases(order: Sequence[int]) -> Layout:
    """``[directions, 2 * gates * hidden]`` to two vectors a direction."""

    def to_torch(array: Array) -> tuple[Array, ...]:
        return tuple(_permuted(half, order) for part in array for half in np.split(part, 2))

    def to_onnx(arrays: tuple[Array, ...]) -> Array:
        back = [_permuted(part, np.argsort(order).tolist()) for part in arrays]
        return np.concatenate(back).reshape(len(arrays) // 2, -1)

    return Layout(f"gate biases {tuple(order)}", to_torch, to_onnx)


def _permuted(array: Array, order: Sequence[int]) -> Array:
    gates = np.split(array, len(order))
    return np.concatenate([gates[place] for place in order])


def recurrent(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, states: Sequence[Tensor | None],
    op: str, nonlinearity: str,
) -> Any:  # fmt: skip
    """A recurrent layer with the weights of ONNX, ``[seq, batch, n]``."""
    order, directions = _GATES[op], w.shape[0]
    hidden = r.shape[2]
    flat: list[Tensor] = []
    for direction in range(directions):
        flat += [_gates(part[direction], order) for part in (w, r)]
        if b is not None:
            flat += [_gates(half, order) for half in b[direction].chunk(2)]
    zero = x.new_zeros((directions, x.shape[1], hidden))
    full = [zero if state is None else state for state in states]
    bias, both = b is not None, directions == 2
    if op == "LSTM":
        output, h, c = torch.lstm(x, full, flat, bias, 1, 0.0, False, both, False)
        return output, (h, c)
    function = (
        torch.gru if op == "GRU" else torch.rnn_relu if nonlinearity == "relu" else torch.rnn_tanh
    )
    return function(x, full[0], flat, bias, 1, 0.0, False, both, False)


def _gates(matrix: Tensor, order: Sequence[int]) -> Tensor:
    parts = matrix.chunk(len(order))
    return torch.cat([parts[place] for place in order])


def reset_first_gru(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, states: Sequence[Tensor | None]
) -> tuple[Tensor, Tensor]:
    """ONNX's GRU with ``linear_before_reset = 0``: ``h' = tanh(W x + R (r * h) + b)``."""
    outputs, last = [], []
    hidden = r.shape[2]
    for direction in range(w.shape[0]):
        steps = x.flip(0) if direction else x
        bias = x.new_zeros(6 * hidden) if b is None else b[direction]
        state = x.new_zeros((x.shape[1], hidden)) if states[0] is None else states[0][direction]
        found = _scan(steps, state, (w[direction], r[direction], bias))
        last.append(found[-1])
        outputs.append(found.flip(0) if direction else found)
    return torch.cat(outputs, dim=2), torch.stack(last)


def _scan(steps: Tensor, state: Tensor, weights: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    w, r, bias = weights
    hidden = r.shape[1]
    input_bias, state_bias = bias.chunk(2)
    projected = steps @ w.t() + input_bias
    results = []
    for x in projected:
        gates = state @ r[: 2 * hidden].t() + state_bias[: 2 * hidden] + x[:, : 2 * hidden]
        update, reset = torch.sigmoid(gates).chunk(2, dim=1)
        inner = (reset * state) @ r[2 * hidden :].t() + state_bias[2 * hidden :]
        candidate = torch.tanh(x[:, 2 * hidden :] + inner)
        state = (1 - update) * candidate + update * state
        results.append(state)
    return torch.stack(results)


def onnx_outputs(
    result: Any, directions: int, reverse: bool, batch_first: bool, has_cell: bool
) -> tuple[Tensor, ...]:
    """Torch's outputs as ONNX's Y, Y_h and, for an LSTM, Y_c."""
    sequence, last = result
    states = tuple(last) if has_cell else (last,)
    steps, batch, _ = sequence.shape
    y = sequence.reshape(steps, batch, directions, -1).transpose(1, 2)
    if reverse:
        y = y.flip(0)
    if batch_first:
        # [seq, directions, batch, hidden] to [batch, seq, directions, hidden]
        return (y.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in states))
    return (y, *states)
