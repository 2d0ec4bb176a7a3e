"""One step of LSTM, GRU and RNN in elementary ops.

Values of a step are ``[1, batch, n]`` (``layout`` 0) or ``[batch, 1, n]`` (``layout`` 1): rank 3,
so that states and steps need no reshaping. A state of None is zero. Formulas and the order of
gates are those of the ONNX operator documentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from edgekit.graph.passes.node_writer import NodeWriter
from edgekit.graph.values import Array

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_LAST = {"axis": -1}


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of one direction.

    Attributes:
        inputs: ``[gates * hidden, input]``.
        states: ``[gates * hidden, hidden]``.
        biases: ``[2 * gates * hidden]``: of the input and of the state; None for zeros.
    """

    inputs: Array
    states: Array
    biases: Array | None

    @property
    def hidden(self) -> int:
        """Size of the state."""
        return int(self.states.shape[1])


@dataclass(frozen=True, slots=True)
class State:
    """What a step hands to the next; None is zero.

    Attributes:
        hidden: The hidden state ``H``.
        cell: The cell state ``C`` of an LSTM.
    """

    hidden: ir.Value | None
    cell: ir.Value | None = None


class Cell:
    """One direction of a recurrent layer: the projection of all steps, and one step.

    Weights become initializers once, whatever the number of steps.
    """

    def __init__(
        self, writer: NodeWriter, op: str, weights: Weights, activations: Sequence[str],
        place: str, *, reset_last: bool = False,
    ) -> None:  # fmt: skip
        """Prepares a cell; writes nothing yet.

        Args:
            writer: Where nodes go.
            op: LSTM, GRU or RNN.
            weights: Of this direction.
            activations: Op types, as many as ``op`` has.
            place: Prefix of names: empty, or the direction with a slash.
            reset_last: Of a GRU: the attribute ``linear_before_reset``.
        """
        self._writer = writer
        self._op = op
        self._weights = weights
        self._activations = activations
        self._place = place
        self._reset_last = reset_last
        self._matrices: dict[str, ir.Value] = {}

    def project(self, sequence: ir.Value) -> ir.Value:
        """Gates of all steps as far as they depend on the input, ``[.., .., gates * hidden]``."""
        bias = self._input_bias()
        weights = self._matrix("W", self._weights.inputs)
        name = f"{self._place}projection"
        if bias is None:
            return self._writer.add("MatMul", [sequence, weights], name)
        product = self._writer.add("MatMul", [sequence, weights], f"{self._place}product")
        return self._writer.add("Add", [product, self._constant("B", bias)], name)

    def step(self, projected: ir.Value, state: State, name: str) -> State:
        """The state after one step.

        Args:
            projected: This step's part of `project`.
            state: The state before.
            name: Prefix of the step's names, as in ``step_3``.
        """
        steps = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}
        return steps[self._op](projected, state, f"{self._place}{name}")

    def _lstm(self, projected: ir.Value, state: State, name: str) -> State:
        """``C = f * C + i * g``, ``H = o * h(C)``; gates in the order i, o, f, g."""
        sigmoid, tanh, last = self._activations
        gates = self._with_state(projected, state.hidden, name)
        names = [f"{name}/{gate}_gate" for gate in ("input", "output", "forget", "cell")]
        parts = self._writer.add_many("Split", [gates], names, {**_LAST, "num_outputs": 4})
        take = self._writer.add(sigmoid, [parts[0]], f"{name}/input")
        give = self._writer.add(sigmoid, [parts[1]], f"{name}/output")
        candidate = self._writer.add(tanh, [parts[3]], f"{name}/candidate")
        if state.cell is None:
            cell = self._writer.add("Mul", [take, candidate], f"{name}/cell")
        else:
            keep = self._writer.add(sigmoid, [parts[2]], f"{name}/forget")
            kept = self._writer.add("Mul", [keep, state.cell], f"{name}/kept")
            added = self._writer.add("Mul", [take, candidate], f"{name}/added")
            cell = self._writer.add("Add", [kept, added], f"{name}/cell")
        squashed = self._writer.add(last, [cell], f"{name}/squashed")
        return State(self._writer.add("Mul", [give, squashed], f"{name}/hidden"), cell)

    def _gru(self, projected: ir.Value, state: State, name: str) -> State:
        """``H = (1 - z) * n + z * H``, written ``n + z * (H - n)``; gates in the order z, r, n."""
        sigmoid, tanh = self._activations
        names = [f"{name}/{gate}_gate" for gate in ("update", "reset", "new")]
        parts = self._writer.add_many("Split", [projected], names, {**_LAST, "num_outputs": 3})
        of_state = self._gru_products(state.hidden, name)
        gates = []
        for gate, part, product in zip(("update", "reset"), parts, of_state, strict=False):
            total = part
            if product is not None:
                total = self._writer.add("Add", [part, product], f"{name}/{gate}_sum")
            gates.append(self._writer.add(sigmoid, [total], f"{name}/{gate}"))
        update, reset = gates
        inner = self._gru_inner(state.hidden, reset, of_state[2], name)
        total = parts[2]
        if inner is not None:
            total = self._writer.add("Add", [total, inner], f"{name}/new_sum")
        new = self._writer.add(tanh, [total], f"{name}/new")
        if state.hidden is None:
            lost = self._writer.add("Mul", [update, new], f"{name}/lost")
            return State(self._writer.add("Sub", [new, lost], f"{name}/hidden"))
        change = self._writer.add("Sub", [state.hidden, new], f"{name}/change")
        kept = self._writer.add("Mul", [update, change], f"{name}/kept")
        return State(self._writer.add("Add", [new, kept], f"{name}/hidden"))

    def _gru_products(self, hidden: ir.Value | None, name: str) -> list[ir.Value | None]:
        """Products of the state for z and r, and for n where the reset comes last."""
        size = self._weights.hidden
        if hidden is None:
            return [None, None, None]
        rows = self._weights.states if self._reset_last else self._weights.states[: 2 * size]
        weights = self._matrix("R", rows)
        total = self._writer.add("MatMul", [hidden, weights], f"{name}/state")
        bias = self._new_bias()
        if self._reset_last and bias is not None:
            padded = np.concatenate([np.zeros(2 * size, bias.dtype), bias])
            constant = self._constant("R_bias", padded)
            total = self._writer.add("Add", [total, constant], f"{name}/state_sum")
        count = 3 if self._reset_last else 2
        names = [f"{name}/{gate}_state" for gate in ("update", "reset", "new")[:count]]
        attributes = {**_LAST, "num_outputs": count}
        parts: list[ir.Value | None] = [
            *self._writer.add_many("Split", [total], names, attributes)
        ]
        return [*parts, *[None] * (3 - count)]

    def _gru_inner(
        self, hidden: ir.Value | None, reset: ir.Value, product: ir.Value | None, name: str
    ) -> ir.Value | None:
        """What the state adds to the new one before its activation; None for nothing."""
        if self._reset_last:
            bias = self._new_bias()
            if product is None and bias is not None:
                product = self._constant("R_new_bias", bias)
            if product is None:
                return None
            return self._writer.add("Mul", [reset, product], f"{name}/after_reset")
        if hidden is None:
            return None
        weights = self._matrix("R_new", self._weights.states[2 * self._weights.hidden :])
        left = self._writer.add("Mul", [reset, hidden], f"{name}/after_reset")
        return self._writer.add("MatMul", [left, weights], f"{name}/new_state")

    def _rnn(self, projected: ir.Value, state: State, name: str) -> State:
        """``H = f(W x + R H + b)``."""
        total = self._with_state(projected, state.hidden, name)
        return State(self._writer.add(self._activations[0], [total], f"{name}/hidden"))

    def _with_state(self, projected: ir.Value, hidden: ir.Value | None, name: str) -> ir.Value:
        if hidden is None:
            return projected
        weights = self._matrix("R", self._weights.states)
        product = self._writer.add("MatMul", [hidden, weights], f"{name}/state")
        return self._writer.add("Add", [projected, product], f"{name}/gates")

    def _input_bias(self) -> Array | None:
        """The sum of both biases, less what a GRU multiplies with its reset gate."""
        if self._weights.biases is None:
            return None
        of_input, of_state = np.split(self._weights.biases.astype(np.float32), 2)
        if self._op == "GRU" and self._reset_last:
            size = self._weights.hidden
            of_state = np.concatenate([of_state[: 2 * size], np.zeros(size, of_state.dtype)])
        return of_input + of_state

    def _new_bias(self) -> Array | None:
        """The state's bias of a GRU's new gate."""
        if self._weights.biases is None:
            return None
        return np.asarray(self._weights.biases[-self._weights.hidden :])

    def _matrix(self, name: str, rows: Array) -> ir.Value:
        return self._constant(name, np.asarray(rows.T))

    def _constant(self, name: str, array: Array) -> ir.Value:
        if name not in self._matrices:
            self._matrices[name] = self._writer.constant(array, f"{self._place}{name}")
        return self._matrices[name]
