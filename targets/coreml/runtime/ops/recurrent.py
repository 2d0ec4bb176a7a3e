"""Recurrent layers, sequence first: ``[steps, batch, features]``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Tensor, operator

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in _ACTIVATIONS:
        raise UnsupportedError(f"activation {name!r} of a recurrent layer is not known")
    return _ACTIVATIONS[name]


def _order(steps: int, direction: str) -> range:
    if direction not in {"forward", "reverse"}:
        raise UnsupportedError(f"direction {direction!r} of a recurrent layer is not known")
    return range(steps) if direction == "forward" else range(steps - 1, -1, -1)


def _sequence(found: dict[int, Tensor], last: Tensor, whole: bool) -> Tensor:
    return torch.stack([found[step] for step in sorted(found)]) if whole else last[None]


@operator("rnn")
def rnn(
    *,
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """``h = act(W x + R h + b)``."""
    act = _activation(activation)
    inputs = F.linear(x, weight_ih, bias)
    state, found = initial_h, {}
    for step in _order(x.shape[0], direction):
        state = act(inputs[step] + F.linear(state, weight_hh))
        found[step] = state
    return _sequence(found, state, output_sequence), state


@operator("gru")
def gru(
    *,
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gates r, o, z: ``h = (1 - z) * o + z * h``.

    The definition leaves open where the reset stands relative to the product and the bias;
    computed is ``o = act(W x + R (r * h) + b)``, and with ``reset_after``
    ``o = act(W x + input_bias + r * (R h + b))``. edgekit's own packages do not use it.
    """
    gate, act = _activation(recurrent_activation), _activation(activation)
    hidden = initial_h.shape[-1]
    inputs = F.linear(x, weight_ih, input_bias)
    shift = torch.zeros(3 * hidden) if bias is None else bias
    (rr, ro, rz), (br, bo, bz) = torch.split(weight_hh, hidden), torch.split(shift, hidden)
    state, found = initial_h, {}
    for step in _order(x.shape[0], direction):
        xr, xo, xz = torch.split(inputs[step], hidden, -1)
        r = gate(xr + F.linear(state, rr, br))
        z = gate(xz + F.linear(state, rz, bz))
        if reset_after:
            new = act(xo + r * F.linear(state, ro, bo))
        else:
            new = act(xo + F.linear(r * state, ro, bo))
        state = (1 - z) * new + z * state
        found[step] = state
    return _sequence(found, state, output_sequence), state


@dataclass(frozen=True, slots=True)
class _Lstm:
    """Weights of one direction, gates in the order i, f, o, z."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias: Tensor | None
    peephole: Tensor | None


@operator("lstm")
def lstm(
    *,
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates i, f, o, z; both directions side by side in the last axis."""
    acts = (
        _activation(recurrent_activation),
        _activation(cell_activation),
        _activation(activation),
    )
    forward = _Lstm(weight_ih, weight_hh, bias, peephole)
    if direction != "bidirectional":
        return _one_way(x, (initial_h, initial_c), forward, direction, acts, clip, output_sequence)
    if weight_ih_back is None or weight_hh_back is None:
        raise UnsupportedError("a bidirectional lstm without weights for the way back")
    backward = _Lstm(weight_ih_back, weight_hh_back, bias_back, peephole_back)
    h, c = initial_h.chunk(2, dim=-1), initial_c.chunk(2, dim=-1)
    ways = [
        _one_way(x, (h[at], c[at]), layer, way, acts, clip, output_sequence)
        for at, (layer, way) in enumerate([(forward, "forward"), (backward, "reverse")])
    ]
    first, second = ways
    return (
        torch.cat([first[0], second[0]], -1),
        torch.cat([first[1], second[1]], -1),
        torch.cat([first[2], second[2]], -1),
    )


def _one_way(
    x: Tensor,
    states: tuple[Tensor, Tensor],
    layer: _Lstm,
    direction: str,
    acts: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
    whole: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    gate, cell_act, act = acts
    h, c = states
    inputs = F.linear(x, layer.weight_ih, layer.bias)
    hidden = h.shape[-1]
    zero = torch.zeros(3 * hidden)
    pi, pf, po = torch.split(zero if layer.peephole is None else layer.peephole, hidden)
    found = {}

    def limited(value: Tensor) -> Tensor:
        return value if clip is None else torch.clamp(value, -clip, clip)

    for step in _order(x.shape[0], direction):
        i, f, o, z = torch.split(inputs[step] + F.linear(h, layer.weight_hh), hidden, -1)
        c = gate(limited(f + pf * c)) * c + gate(limited(i + pi * c)) * cell_act(limited(z))
        h = gate(limited(o + po * c)) * act(c)
        found[step] = h
    return _sequence(found, h, whole), h, c
