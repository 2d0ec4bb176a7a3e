"""Integers, scales and zero points of everything that a placement names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.core.quant import ScaleFormat
from edgekit.errors import InternalError
from edgekit.graph.values import Array, constant_array
from edgekit.quantization.affine import (
    AffineParameters,
    IntArray,
    affine_parameters,
    integer_dtype,
    rounded_scales,
)
from edgekit.quantization.placement import (
    ConstantOperand,
    LayerPlacement,
    Placement,
    Reader,
    ValueGroup,
)
from edgekit.quantization.weight_scales import weight_scales

type Scales = npt.NDArray[np.float32]

_BIAS_LIMIT = 2.0**30
"""Largest bias integer: half of what 32 bits hold, the rest is for the accumulator."""


@dataclass(frozen=True, slots=True)
class ValueRange:
    """Lowest and highest element that a tensor is expected to have."""

    low: float
    high: float

    def joined(self, other: ValueRange) -> ValueRange:
        """The range that holds both."""
        return ValueRange(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True, slots=True)
class WeightParameters:
    """Quantized weights; zero points are 0.

    Attributes:
        integers: int8, or 4-bit integers; the shape of the weights.
        scale: Scalar; or one number a channel; or, blockwise, the shape of the weights with
            ``axis`` divided by ``block_size``.
        axis: Axis of the channels, or blockwise the axis that is divided into blocks.
        block_size: 0 unless blockwise.
    """

    integers: IntArray
    scale: Scales
    axis: int
    block_size: int = 0

    def dequantize(self) -> npt.NDArray[np.float32]:
        """The weights that the integers stand for."""
        return self.integers.astype(np.float32) * self.spread_scale()

    def spread_scale(self) -> Scales:
        """The scale in a shape that broadcasts over the weights."""
        if self.block_size:
            return np.repeat(self.scale, self.block_size, self.axis)
        if self.scale.ndim == 0:
            return self.scale
        shape = [1] * self.integers.ndim
        shape[self.axis] = -1
        return self.scale.reshape(shape)


@dataclass(frozen=True, slots=True)
class BiasParameters:
    """Quantized bias: ``int32[n]`` and its scale, a scalar or ``float32[n]``."""

    integers: npt.NDArray[np.int32]
    scale: Scales


@dataclass(frozen=True, slots=True)
class LayerParameters:
    """Quantized weights and bias of one layer."""

    weight: WeightParameters
    bias: BiasParameters | None = None


@dataclass(frozen=True, slots=True)
class QuantParameters:
    """All parameters of a quantized graph.

    Attributes:
        groups: By name of the group.
        layers: By name of the layer.
        constants: Of each constant operand, by its first reader.
    """

    groups: Mapping[str, AffineParameters] = field(default_factory=dict)
    layers: Mapping[str, LayerParameters] = field(default_factory=dict)
    constants: Mapping[Reader, AffineParameters] = field(default_factory=dict)


def compute_parameters(
    model: ir.Model,
    placement: Placement,
    ranges: Mapping[str, ValueRange],
    weights: Mapping[str, WeightParameters] | None = None,
) -> QuantParameters:
    """Parameters from the ranges of the groups and from the constants of the graph.

    Args:
        model: The graph that the placement was made for; not modified.
        placement: Where it is quantized.
        ranges: Range of each group that `Placement.calibrated_groups` names.
        weights: Weights that are quantized already, by name of the layer.

    Raises:
        InternalError: If a range is missing.
    """
    groups = {
        group.name: group_parameters(model, group, ranges, placement.scale_format)
        for group in placement.groups
    }
    constants = {
        constant.readers[0]: (
            groups[constant.group]
            if constant.group
            else _own_parameters(model, constant, placement.scale_format)
        )
        for constant in placement.constants
    }
    layers = {
        layer.layer: layer_parameters(
            model, layer, groups, placement.scale_format, (weights or {}).get(layer.layer)
        )
        for layer in placement.layers
    }
    return QuantParameters(groups, layers, constants)


def group_parameters(
    model: ir.Model,
    group: ValueGroup,
    ranges: Mapping[str, ValueRange],
    scale_format: ScaleFormat = "float32",
) -> AffineParameters:
    """Parameters of one group: fixed, or from its range and the constants within it."""
    if group.fixed is not None:
        return AffineParameters.fixed(group.fixed, group.scheme.bits)
    bounds = [0.0, *group.numbers]
    if group.name in ranges:
        bounds += [ranges[group.name].low, ranges[group.name].high]
    elif group.sources:
        raise InternalError(f"Values {', '.join(group.sources)} were not calibrated")
    for name in group.constants:
        array = constant_of(model, name)
        bounds += [float(array.min()), float(array.max())]
    return affine_parameters(min(bounds), max(bounds), group.scheme, scale_format)


def layer_parameters(
    model: ir.Model,
    layer: LayerPlacement,
    groups: Mapping[str, AffineParameters],
    scale_format: ScaleFormat = "float32",
    known: WeightParameters | None = None,
) -> LayerParameters:
    """Integers of the weights, and of the bias with ``scale = input scale * weight scale``.

    Where a channel's weights are so small that its bias would not fit into 32 bits, the
    weights get a larger scale.

    Args:
        model: Holds the constants.
        layer: Which they are.
        groups: Parameters of the layer's input, when it is quantized.
        scale_format: Format of the scales of the weights.
        known: Weights that are quantized already.
    """
    bias, input_scale = None, 0.0
    if layer.bias is not None and layer.input_group:
        bias = constant_of(model, layer.bias.value).astype(np.float64).reshape(-1)
        input_scale = groups[layer.input_group].scale
    weight = known
    if weight is None:
        weights = constant_of(model, layer.weight).astype(np.float32)
        scale_format = layer.scale_format or scale_format
        scale, axis, block = weight_scales(weights, layer, scale_format)
        if bias is not None:
            needed = np.abs(bias) / (input_scale * _BIAS_LIMIT)
            needed = needed.reshape(layer.repeats, -1).max(axis=0)
            wider = np.maximum(scale, needed.max() if scale.ndim == 0 else needed)
            scale = rounded_scales(wider, scale_format)
        weight = round_weights(weights, scale, layer.scheme.bits, axis, block)
    if bias is None:
        return LayerParameters(weight)
    return LayerParameters(weight, bias_parameters(bias, input_scale, weight, layer.repeats))


def round_weights(
    weights: npt.NDArray[np.float32], scale: Scales, bits: int, axis: int, block_size: int = 0
) -> WeightParameters:
    """Nearest integers without the lowest one, which would make the range asymmetric."""
    highest = (1 << (bits - 1)) - 1
    empty = WeightParameters(np.zeros(weights.shape, np.int8), scale, axis, block_size)
    quotient = np.rint(weights / empty.spread_scale())
    integers = np.clip(quotient, -highest, highest).astype(integer_dtype(bits))
    return WeightParameters(integers, scale, axis, block_size)


def bias_parameters(
    bias: npt.NDArray[np.floating[Any]],
    input_scale: float,
    weight: WeightParameters,
    repeats: int = 1,
) -> BiasParameters:
    """Nearest 32-bit integers of a bias with the float32 product of the two scales."""
    product = np.float32(input_scale) * weight.scale
    scale: Scales = np.asarray(product if product.ndim == 0 else np.tile(product, repeats))
    limit = 2**31 - 1
    quotient = np.rint(bias.reshape(-1).astype(np.float64) / scale.astype(np.float64))
    return BiasParameters(np.clip(quotient, -limit, limit).astype(np.int32), scale)


def constant_of(model: ir.Model, name: str) -> Array:
    """The array of an initializer.

    Raises:
        InternalError: If there is none of that name.
    """
    array = constant_array(model.graph.initializers.get(name))
    if array is None:
        raise InternalError(f"The graph has no constant {name!r}; the placement is not of it")
    return array


def _own_parameters(
    model: ir.Model, constant: ConstantOperand, scale_format: ScaleFormat
) -> AffineParameters:
    array = constant_of(model, constant.value)
    return affine_parameters(float(array.min()), float(array.max()), constant.scheme, scale_format)
