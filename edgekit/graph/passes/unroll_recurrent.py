"""LSTM, GRU and RNN unrolled into one cell for each step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.node_writer import NodeWriter
from edgekit.graph.passes.recurrent_cells import GATES, Cell, State, Weights
from edgekit.graph.signature import dims_of
from edgekit.graph.values import (
    constant_array,
    constant_ints,
    input_at,
    int_attribute,
    is_op,
    string_attribute,
)

MAX_STEPS = 128
"""Longest sequence that is unrolled: an LSTM's step is up to 14 nodes."""
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_PLAIN = frozenset({"Relu", "Sigmoid", "Tanh"})
"""Activations without parameters, which are ops of the same name."""
_SEQUENCE_LENS, _INITIAL_H, _INITIAL_C, _PEEPHOLES = 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class _Layer:
    """What a recurrent node says.

    Attributes:
        directions: ``"forward"``, ``"reverse"`` or both.
        activations: Op types for each direction.
        weights: For each direction.
        steps: Length of the sequence.
        axis: Axis of the steps in the input, and of the directions in the states.
    """

    directions: tuple[str, ...]
    activations: tuple[tuple[str, ...], ...]
    weights: tuple[Weights, ...]
    steps: int
    axis: int


class UnrollRecurrent(GraphPass):
    """Rewrites LSTM, GRU and RNN as MatMul, Add, Split, Mul and activations, step by step.

    1. All directions, both layouts, initial states and every output are covered; a GRU with
       and without ``linear_before_reset``.
    2. The input of all steps is projected by one MatMul for each direction. Weights are
       initializers that all steps share. Where no initial state is given, the first step leaves
       out the products with zero.
    3. New nodes are named below the recurrent one, as in ``lstm_4/step_0/gates``.
    4. With a sequence of unknown length or more than `MAX_STEPS` steps, weights that are no
       constants, activations with parameters, peepholes, ``clip``, coupled gates or
       ``sequence_lens`` other than the whole length, the node stays with a reason.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        modified = False
        for node in model.graph:
            if not is_op(node, *GATES):
                continue
            found = _read(node)
            if isinstance(found, str):
                self.keep(node, found)
                continue
            _unroll(model.graph, node, found)
            modified = True
        return modified


def _read(node: ir.Node) -> _Layer | str:
    """The layer, or the reason why it is left as it is."""
    reason = _obstacle(node)
    if reason:
        return reason
    layout = int_attribute(node, "layout", 0)
    source = node.inputs[0]
    dims = None if source is None else dims_of(source)
    steps = None if dims is None else dims[layout]
    if not isinstance(steps, int):
        return "the length of its sequence is not fixed"
    if steps > MAX_STEPS:
        return f"its sequence has {steps} steps; at most {MAX_STEPS} are unrolled"
    lengths = input_at(node, _SEQUENCE_LENS)
    if lengths is not None and set(constant_ints(lengths) or (-1,)) != {steps}:
        return "sequence_lens gives sequences a length of their own"
    direction = string_attribute(node, "direction", "forward")
    directions = ("forward", "reverse") if direction == "bidirectional" else (direction,)
    inputs, states, biases = (constant_array(input_at(node, index)) for index in (1, 2, 3))
    if inputs is None or states is None or (biases is None and input_at(node, 3) is not None):
        return "its weights are no constants"
    if inputs.dtype != np.float32:
        return f"its weights are {inputs.dtype.name}, not float32"
    weights = tuple(
        Weights(inputs[index], states[index], None if biases is None else biases[index])
        for index in range(len(directions))
    )
    count = len(_ACTIVATIONS[node.op_type])
    names = _activations(node, len(directions))
    activations = tuple(
        tuple(names[index * count : (index + 1) * count]) for index in range(len(directions))
    )
    return _Layer(directions, activations, weights, steps, layout)


def _obstacle(node: ir.Node) -> str:
    """What the attributes and inputs hold that is not unrolled; empty for nothing."""
    for name in ("clip", "activation_alpha", "activation_beta"):
        if name in node.attributes:
            return f"it has the attribute {name}"
    if int_attribute(node, "input_forget", 0):
        return "its input and forget gates are coupled (input_forget)"
    if input_at(node, _PEEPHOLES) is not None:
        return "it has peepholes (input P)"
    strange = set(_activations(node, 1)) - _PLAIN
    return f"it has the activation {min(strange)}" if strange else ""


def _activations(node: ir.Node, directions: int) -> list[str]:
    attribute = node.attributes.get("activations")
    if attribute is None:
        return [*_ACTIVATIONS[node.op_type]] * directions
    return [str(name) for name in attribute.as_strings()]


def _unroll(graph: ir.Graph, node: ir.Node, layer: _Layer) -> None:
    writer = NodeWriter(graph, node)
    states = [_initial_states(writer, node, layer, index) for index in (_INITIAL_H, _INITIAL_C)]
    sequences, hidden, cells = [], [], []
    for index, direction in enumerate(layer.directions):
        place = "" if len(layer.directions) == 1 else f"{direction}/"
        cell = Cell(
            writer,
            node.op_type,
            layer.weights[index],
            layer.activations[index],
            place,
            reset_last=bool(int_attribute(node, "linear_before_reset", 0)),
        )
        first = State(states[0][index], states[1][index])
        results = _run(writer, cell, node, layer, index, first)
        sequences.append([result.hidden for result in results])
        final = results[0 if direction == "reverse" else -1]
        hidden.append(final.hidden)
        cells.append(final.cell)
    read = [bool(o.uses()) or o.is_graph_output() for o in node.outputs]
    made: list[ir.Value | None] = [None] * len(node.outputs)
    for output, states_of, name in ((1, hidden, "Y_h"), (2, cells, "Y_c")):
        if output < len(read) and read[output]:
            made[output] = _joined(writer, layer, states_of, name)
    if read[0]:
        made[0] = _sequence(writer, layer, sequences)
    writer.finish(made)


def _initial_states(
    writer: NodeWriter, node: ir.Node, layer: _Layer, index: int
) -> Sequence[ir.Value | None]:
    """The initial state of each direction; None for zeros."""
    value, count = input_at(node, index), len(layer.directions)
    if value is None or (node.op_type != "LSTM" and index == _INITIAL_C):
        return [None] * count
    array = constant_array(value)
    if array is not None and not array.any():
        return [None] * count
    if count == 1:
        return [value]
    kind = "hidden" if index == _INITIAL_H else "cell"
    names = [f"{direction}/initial_{kind}" for direction in layer.directions]
    return writer.add_many("Split", [value], names, {"axis": layer.axis, "num_outputs": count})


def _run(
    writer: NodeWriter, cell: Cell, node: ir.Node, layer: _Layer, index: int, state: State
) -> list[State]:
    """States after each step of one direction, in the order of the sequence."""
    source = node.inputs[0]
    if source is None:
        return []
    place = "" if len(layer.directions) == 1 else f"{layer.directions[index]}/"
    projected = cell.project(source)
    order = range(layer.steps)
    results: dict[int, State] = {}
    for step in reversed(order) if layer.directions[index] == "reverse" else order:
        part = projected
        if layer.steps > 1:
            bounds = [writer.integers(number) for number in (step, step + 1, layer.axis)]
            part = writer.add("Slice", [projected, *bounds], f"{place}step_{step}/input_gates")
        state = cell.step(part, state, f"step_{step}")
        results[step] = state
    return [results[step] for step in order]


def _sequence(
    writer: NodeWriter, layer: _Layer, sequences: list[list[ir.Value | None]]
) -> ir.Value:
    """``Y``: all hidden states, with the axis of directions behind that of the steps."""
    parts = []
    for direction, states in zip(layer.directions, sequences, strict=True):
        name = f"{direction}/all_hidden"
        joined = states[0]
        if len(states) > 1:
            joined = writer.add("Concat", states, name, {"axis": layer.axis})
        axes = [joined, writer.integers(layer.axis + 1)]
        parts.append(writer.add("Unsqueeze", axes, f"{direction}/Y"))
    if len(parts) == 1:
        return parts[0]
    return writer.add("Concat", parts, "Y", {"axis": layer.axis + 1})


def _joined(
    writer: NodeWriter, layer: _Layer, states: list[ir.Value | None], name: str
) -> ir.Value | None:
    """The last states of all directions."""
    if len(states) == 1:
        return states[0]
    return writer.add("Concat", states, name, {"axis": layer.axis})
