"""AdaRound: learns for each weight whether it is rounded up or down.

M. Nagel, R. A. Amjad, M. van Baalen, C. Louizos, T. Blankevoort, "Up or down? Adaptive rounding
for post-training quantization", ICML 2020. For one layer with weights ``W`` and scale ``s``::

    W_soft = s * clip(floor(W / s) + h(V), lowest, highest)
    h(V) = clip(sigmoid(V) * (1.1 + 0.1) - 0.1, 0, 1)
    minimize |f(W x) - f(W_soft x_q)|^2 + lambda * sum(1 - |2 h(V) - 1|^beta)

where ``f`` is the activation that follows and ``x_q`` the quantized input. ``beta`` falls
from 20 to 2, which drives every ``h(V)`` to 0 or 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.quant import QuantConstraints
from edgekit.core.stage import Note
from edgekit.errors import InputError
from edgekit.graph.values import Array
from edgekit.quantization.affine import AffineParameters, integer_dtype
from edgekit.quantization.layer_forward import LayerForward, layer_forward
from edgekit.quantization.observed_model import ObservedModel
from edgekit.quantization.parameters import (
    LayerParameters,
    QuantParameters,
    WeightParameters,
    constant_of,
)
from edgekit.quantization.placement import LayerPlacement, Placement
from edgekit.quantization.units import Unit, clamp_range, find_units

_STRETCH_LOW, _STRETCH_HIGH = -0.1, 1.1
_BETA_START, _BETA_END = 20.0, 2.0
_WARM_UP = 0.2
"""Share of the iterations before the regularizer sets in."""


@dataclass(frozen=True, slots=True)
class AdaRoundOptions:
    """Options of the optimization of one layer.

    Attributes:
        iterations: Steps of Adam.
        samples: Samples of calibration data kept for a layer, at most.
        batch: Samples of one step.
        learning_rate: Of Adam.
        regularization: ``lambda`` above.
        seed: Of the choice of batches.
    """

    iterations: int = 1000
    samples: int = 256
    batch: int = 32
    learning_rate: float = 1e-2
    regularization: float = 0.01
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rounding:
    """Outcome for one layer.

    Attributes:
        integers: The weights' integers.
        nearest_error: Mean squared error of the layer's output with nearest rounding.
        error: The same with the learned rounding; never larger.
    """

    integers: npt.NDArray[np.generic]
    nearest_error: float
    error: float


def adaround(
    model: ir.Model,
    placement: Placement,
    parameters: QuantParameters,
    feeds: Callable[[], Iterable[Mapping[str, Array]]],
    options: AdaRoundOptions | None = None,
    progress: Progress | None = None,
) -> tuple[QuantParameters, tuple[Note, ...]]:
    """Rounds the weights of all layers anew; scales, zero points and biases stay.

    Args:
        model: Float graph; not modified.
        placement: Which layers are quantized.
        parameters: With nearest rounding.
        feeds: Gives the calibration batches, again for each layer.
        options: Of the optimization.
        progress: Advances by one a layer.

    Returns:
        The parameters with other weight integers, and a note for each layer that was left.

    Raises:
        InputError: If there are no batches.
    """
    options = options or AdaRoundOptions()
    progress = progress or SilentProgress()
    units = {unit.name: unit for unit in find_units(model.graph, QuantConstraints())}
    layers = dict(parameters.layers)
    notes: list[Note] = []
    progress.start("AdaRound", len(placement.layers))
    for layer in placement.layers:
        unit = units[layer.layer]
        forward = layer_forward(unit.node)
        if isinstance(forward, str):
            notes.append(Note(where=layer.layer, text=f"Rounded to nearest: {forward}"))
        else:
            inputs = _collect(model, unit, feeds(), options.samples)
            rounding = round_layer(
                _problem(model, unit, layer, parameters, inputs, forward), options
            )
            layers[layer.layer] = _with_integers(layers[layer.layer], rounding.integers)
        progress.advance()
    progress.finish()
    return replace(parameters, layers=layers), tuple(notes)


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """What is optimized for one layer.

    Attributes:
        forward: The layer without its bias: ``(inputs, weights) -> outputs``.
        weights: Float weights.
        nearest: Their nearest integers, with the scale.
        bits: Bits of the integers.
        bias: Added before the activation; broadcasts over the outputs.
        clamp: Bounds of the activation that follows.
        inputs: Float inputs.
        quantized_inputs: The same as the quantized graph has them.
    """

    forward: LayerForward
    weights: torch.Tensor
    nearest: WeightParameters
    bits: int
    bias: torch.Tensor
    clamp: tuple[float, float]
    inputs: torch.Tensor
    quantized_inputs: torch.Tensor


def round_layer(problem: LayerProblem, options: AdaRoundOptions) -> Rounding:
    """Learns the rounding of one layer; falls back to nearest where that has less error."""
    scale = torch.from_numpy(np.array(problem.nearest.spread_scale(), np.float32))
    floor = torch.floor(problem.weights / scale)
    fraction = (problem.weights / scale - floor).clamp(1e-4, 1 - 1e-4)
    stretched = (fraction - _STRETCH_LOW) / (_STRETCH_HIGH - _STRETCH_LOW)
    variable = torch.logit(stretched).requires_grad_(True)
    highest = (1 << (problem.bits - 1)) - 1
    optimizer = torch.optim.Adam([variable], lr=options.learning_rate)
    generator = torch.Generator().manual_seed(options.seed)
    count = len(problem.inputs)
    for step in range(options.iterations):
        chosen = torch.randperm(count, generator=generator)[: options.batch]
        soft = (floor + rectified_sigmoid(variable)).clamp(-highest, highest) * scale
        with torch.no_grad():
            target = _output(problem, problem.weights, problem.inputs[chosen])
        output = _output(problem, soft, problem.quantized_inputs[chosen])
        # The error is summed over channels and averaged over samples and positions.
        loss = (output - target).square().mean() * problem.bias.numel()
        beta = annealed_beta(step, options.iterations)
        if beta is not None:
            loss = loss + options.regularization * rounding_regularizer(variable, beta)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        learned = floor + (rectified_sigmoid(variable) >= 0.5)
        # Rounding has nothing to decide there, and a sparse layer stays sparse.
        learned = torch.where(problem.weights == 0, 0.0, learned)
    integers = learned.clamp(-highest, highest).numpy().astype(integer_dtype(problem.bits))
    nearest = problem.nearest.integers
    errors = [_error(problem, nearest), _error(problem, integers)]
    best = integers if errors[1] <= errors[0] else nearest
    return Rounding(best, errors[0], min(errors))


def rectified_sigmoid(variable: torch.Tensor) -> torch.Tensor:
    """``h(V)`` of the paper, between 0 and 1, which it reaches."""
    spread = _STRETCH_HIGH - _STRETCH_LOW
    return (torch.sigmoid(variable) * spread + _STRETCH_LOW).clamp(0.0, 1.0)


def rounding_regularizer(variable: torch.Tensor, beta: float) -> torch.Tensor:
    """``sum(1 - |2 h(V) - 1|^beta)``: 0 when every weight is fully up or down."""
    distance = (2.0 * rectified_sigmoid(variable) - 1.0).abs()
    return (1.0 - distance.pow(beta)).sum()


def annealed_beta(step: int, iterations: int) -> float | None:
    """Exponent of the regularizer, from 20 to 2 by a half cosine; None during the warm-up."""
    start = _WARM_UP * iterations
    if step < start:
        return None
    done = (step - start) / max(iterations - start, 1.0)
    return _BETA_END + 0.5 * (_BETA_START - _BETA_END) * (1.0 + math.cos(done * math.pi))


def _output(problem: LayerProblem, weights: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    output = problem.forward(inputs, weights) + problem.bias
    return output.clamp(*problem.clamp)


def _error(problem: LayerProblem, integers: npt.NDArray[np.generic]) -> float:
    weights = replace(problem.nearest, integers=integers.astype(np.int32)).dequantize()
    total = 0.0
    with torch.no_grad():
        for start in range(0, len(problem.inputs), 32):
            part = slice(start, start + 32)
            target = _output(problem, problem.weights, problem.inputs[part])
            output = _output(problem, torch.from_numpy(weights), problem.quantized_inputs[part])
            total += float((output - target).square().sum())
    return total / len(problem.inputs)


def _problem(
    model: ir.Model,
    unit: Unit,
    layer: LayerPlacement,
    parameters: QuantParameters,
    inputs: npt.NDArray[np.float32],
    forward: LayerForward,
) -> LayerProblem:
    affine = parameters.groups.get(layer.input_group)
    channels = _channels(layer, parameters.layers[layer.layer].weight)
    bias = torch.zeros(channels)
    if unit.bias is not None and unit.bias.name is not None:
        array = constant_of(model, unit.bias.name).astype(np.float32)
        bias = torch.from_numpy(array.reshape(-1).copy())
    if layer.op_type in ("Conv", "ConvTranspose"):
        bias = bias.reshape(-1, *(1,) * (inputs.ndim - 2))
    clamp = clamp_range(unit.activation) if unit.activation is not None else None
    return LayerProblem(
        forward=forward,
        weights=torch.from_numpy(constant_of(model, layer.weight).astype(np.float32)),
        nearest=parameters.layers[layer.layer].weight,
        bits=layer.scheme.bits,
        bias=bias,
        clamp=clamp or (-math.inf, math.inf),
        inputs=torch.from_numpy(inputs),
        quantized_inputs=torch.from_numpy(_as_quantized(inputs, affine)),
    )


def _channels(layer: LayerPlacement, weight: WeightParameters) -> int:
    return int(weight.integers.shape[layer.axis]) * layer.repeats


def _as_quantized(
    inputs: npt.NDArray[np.float32], affine: AffineParameters | None
) -> npt.NDArray[np.float32]:
    return inputs if affine is None else affine.dequantize(affine.quantize(inputs))


def _collect(
    model: ir.Model, unit: Unit, feeds: Iterable[Mapping[str, Array]], samples: int
) -> npt.NDArray[np.float32]:
    """The first samples of a layer's input, so that memory stays bounded."""
    value = unit.node.inputs[0]
    if value is None or value.name is None:
        raise ValueError(f"{unit.name!r} has no input")
    kept: list[npt.NDArray[np.float32]] = []
    count = 0
    with ObservedModel(model, [value.name]) as observed:
        for batch in feeds:
            for part in observed.run(batch):
                kept.append(part[value.name].astype(np.float32)[: samples - count])
                count += len(kept[-1])
                if count >= samples:
                    return np.concatenate(kept)
    if not kept:
        raise InputError("No data for AdaRound: the calibration set is empty")
    return np.concatenate(kept)


def _with_integers(
    parameters: LayerParameters, integers: npt.NDArray[np.generic]
) -> LayerParameters:
    stored = integers.astype(parameters.weight.integers.dtype)
    return replace(parameters, weight=replace(parameters.weight, integers=stored))
