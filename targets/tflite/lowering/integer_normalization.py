"""LayerNormalization of 8-bit values on integers, which TFLite has no kernel for.

Normalizing takes off any factor, so each row is first brought to a span of 1, whatever its size:
that is what lets 16 bits hold its variance. With ``q`` the integers of ``x = s * (q - z)``:

    c = s * (q - mean(q))                   the zero point falls away
    f = min(1 / (s * (max(q) - min(q))), f_max)      from a table of 256 entries
    n = c * f                               within -1..1
    v = mean(n * n) + epsilon * f * f       the second term from a table as well
    y = n * (1 / sqrt(v)) * scale + bias

``f`` may be rough: the same integer of it is used in both places. All steps are exact to a small
part of an output step; the tests compare them with float arithmetic over rows of any size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.inspect import count_macs
from edgekit.graph.values import is_op
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.layout import Dim
from edgekit.targets.tflite.lowering.quantization import Parameter, Quantization, TensorType
from edgekit.targets.tflite.lowering.requantize import quantized_constant, requantized

type Reals = npt.NDArray[np.float64]

FASTER_IN_FLOAT = (
    "a normalization on integers would take long beside the products of this graph; with "
    "--integer-only it is on integers"
)
_NANOSECONDS_PER_ELEMENT = 40.0
"""Measured with LiteRT 2.1.2 on one core of an EPYC: its 16-bit kernels are plain loops."""
_NANOSECONDS_PER_PRODUCT = 0.05
"""The same for the 8-bit products of XNNPACK."""
_LARGEST_SHARE = 0.4
"""Of the time of the products; beyond it the float kernels are faster as a whole."""

_HIGHEST = 2**15 - 1
_SPANS = 256
_SHARE_OF_EPSILON = 0.25
"""Largest ``epsilon * f * f``, which bounds ``f``: as much as the variance of a row can be."""
_LARGEST_VARIANCE = 0.25
_RESERVE = 1.02


@dataclass(frozen=True, slots=True)
class Normalization:
    """What is normalized.

    Attributes:
        stored: Shape of the tensor; its last axis is normalized.
        epsilon: Added to the variance.
        scale: ``[D]``, or None for ones.
        bias: ``[D]``, or None for zeros.
        name: Of the result.
    """

    stored: tuple[Dim, ...]
    epsilon: float
    scale: Reals | None
    bias: Reals | None
    name: str

    @property
    def length(self) -> int:
        """D, the number of values that are normalized together."""
        size = self.stored[-1]
        assert isinstance(size, int)
        return size


def pays_off(model: ir.Model) -> bool:
    """Whether normalizations on integers take little time beside the products of a graph.

    Args:
        model: With shapes; a symbolic first dim counts as batch 1.
    """
    macs = count_macs(model)
    elements = 0
    for node in model.graph:
        if is_op(node, "LayerNormalization"):
            shape = node.outputs[0].shape
            dims = () if shape is None else tuple(shape)
            elements += math.prod(dim if isinstance(dim, int) else 1 for dim in dims)
    if macs is None:
        return False
    limit = _LARGEST_SHARE * macs * _NANOSECONDS_PER_PRODUCT
    return elements * _NANOSECONDS_PER_ELEMENT <= limit


def write_normalization(
    context: LoweringContext, tensor: int, target: TensorType, what: Normalization
) -> int:
    """Writes the operators.

    Args:
        context: The lowering.
        tensor: int8 with one scale.
        target: int8 type of the result.
        what: Shape, constants and name.

    Returns:
        A tensor of type ``target``.
    """
    source = context.model.type_of(tensor)
    assert source.quantization is not None
    writer = _Writer(context, what)
    step = source.quantization.scales[0]
    factors = span_factors(step, what.epsilon)
    index = _span_index(writer, tensor, source)
    factor = writer.look_up(factors.factor, _int16(factors.factor_scale), index, "factor")
    share = writer.look_up(factors.epsilon_share, _int16(factors.variance_scale), index, "share")
    plain = writer.cast(tensor, TensorType("int16", Quantization((step,), (0,))), "plain")
    mean = writer.reduce("MEAN", plain, _int16(step / 256), "mean")
    centred = writer.binary("SUB", plain, mean, _int16(step / 128), "centred")
    unit = writer.binary("MUL", centred, factor, _int16(_RESERVE / _HIGHEST), "unit")
    square = writer.binary("MUL", unit, unit, _int16(_RESERVE**2 / _HIGHEST), "square")
    variance = writer.reduce("MEAN", square, _int16(factors.variance_scale), "variance")
    total = writer.binary(
        "ADD", variance, share, _int16(factors.variance_scale), "total", reduced=True
    )
    inverse = _inverse_root(writer, total, factors.variance_scale, what.length)
    largest = np.sqrt(what.length)
    made = writer.binary("MUL", unit, inverse, _int16(largest / _HIGHEST), "normalized")
    made = _affine(writer, made, what, target)
    return requantized(context, made, what.stored, target, what.name)


@dataclass(frozen=True, slots=True)
class SpanFactors:
    """Tables by the span of a row, ``max(q) - min(q)``, 0 to 255.

    Attributes:
        factor: int16, the factors in steps of ``factor_scale``.
        factor_scale: Their scale.
        epsilon_share: int16, ``epsilon * f * f`` in steps of ``variance_scale``.
        variance_scale: Scale of variances of rows of span 1.
    """

    factor: npt.NDArray[np.int16]
    factor_scale: float
    epsilon_share: npt.NDArray[np.int16]
    variance_scale: float


def span_factors(step: float, epsilon: float) -> SpanFactors:
    """The factors for values in steps of ``step``, and what epsilon becomes with each."""
    largest = np.sqrt(_SHARE_OF_EPSILON / max(epsilon, 1e-12))
    exact = np.minimum(1.0 / (step * np.maximum(np.arange(_SPANS), 1)), largest)
    scale = float(np.float32(exact.max() / _HIGHEST))
    # Rounded down: a span of more than 1 would leave the range.
    factor = np.floor(exact / scale)
    variance_scale = (_LARGEST_VARIANCE + _SHARE_OF_EPSILON) * _RESERVE / _HIGHEST
    variance_scale = float(np.float32(variance_scale))
    share = np.rint(epsilon * (factor * scale) ** 2 / variance_scale)
    return SpanFactors(factor.astype(np.int16), scale, share.astype(np.int16), variance_scale)


def _span_index(writer: _Writer, tensor: int, source: TensorType) -> int:
    """``max(q) - min(q)`` of each row as int32."""
    assert source.quantization is not None
    spans = TensorType("int8", Quantization(source.quantization.scales, (-128,)))
    high = writer.reduce("REDUCE_MAX", tensor, source, "highest")
    low = writer.reduce("REDUCE_MIN", tensor, source, "lowest")
    span = writer.binary("SUB", high, low, spans, "span", reduced=True)
    wide = writer.cast(span, TensorType("int32"), "span_wide", reduced=True)
    offset = Parameter(np.array(-128, np.int32), TensorType("int32"))
    lowest = writer.context.operand(offset, "int8/lowest")
    return writer.binary("SUB", wide, lowest, TensorType("int32"), "span_index", reduced=True)


def _inverse_root(writer: _Writer, tensor: int, scale: float, length: int) -> int:
    """``1 / sqrt(v)`` by a table: 64 KB, which all normalizations of a length share."""
    smallest = _LARGEST_VARIANCE * 2.0 / length
    target = _int16(float(smallest**-0.5) * _RESERVE / _HIGHEST)
    index = writer.cast(tensor, TensorType("int32"), "variance_index", reduced=True)
    values = np.maximum(np.arange(_HIGHEST + 1), 1) * scale
    table = quantized_constant(values**-0.5, target)
    return writer.look_up(
        table.array, target, index, "inverse", name=f"inverse_root_of_{length}_values"
    )


def _affine(writer: _Writer, tensor: int, what: Normalization, target: TensorType) -> int:
    """``x * scale + bias`` in 16 bits, saturating no earlier than the result does."""
    assert target.quantization is not None
    step, zero_point = target.quantization.scales[0], target.quantization.zero_points[0]
    limit = step * max(127 - zero_point, 128 + zero_point) * _RESERVE
    shift = 0.0 if what.bias is None else float(np.abs(what.bias).max())
    if what.scale is not None:
        operand = writer.constant(what.scale, "scale")
        kind = _int16((limit + shift) / _HIGHEST)
        tensor = writer.binary("MUL", tensor, operand, kind, "scaled")
    if what.bias is not None:
        operand = writer.constant(what.bias, "bias")
        tensor = writer.binary("ADD", tensor, operand, _int16(limit / _HIGHEST), "shifted")
    return tensor


def _int16(scale: float) -> TensorType:
    return TensorType("int16", Quantization((float(np.float32(scale)),), (0,)))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes operators on the whole tensor, or on one number a row (``reduced``)."""

    context: LoweringContext
    what: Normalization

    def _step(
        self, operator: Operator, inputs: Sequence[int], kind: TensorType, part: str, reduced: bool
    ) -> int:
        shape = (*self.what.stored[:-1], 1) if reduced else self.what.stored
        return self.context.step(operator, inputs, shape, kind, f"{self.what.name}/{part}")

    def reduce(self, name: str, tensor: int, kind: TensorType, part: str) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axis = np.array([len(self.what.stored) - 1], np.int32)
        axes = self.context.index_tensor(axis, f"{self.what.name}/axis")
        return self._step(Operator(name, options), [tensor, axes], kind, part, reduced=True)

    def binary(
        self, name: str, left: int, right: int, kind: TensorType, part: str, *,
        reduced: bool = False,
    ) -> int:  # fmt: skip
        options = {"ADD": schema.AddOptionsT, "MUL": schema.MulOptionsT, "SUB": schema.SubOptionsT}
        return self._step(Operator(name, options[name]()), [left, right], kind, part, reduced)

    def cast(self, tensor: int, kind: TensorType, part: str, *, reduced: bool = False) -> int:
        options = schema.CastOptionsT()
        options.inDataType = TENSOR_TYPES[self.context.model.type_of(tensor).dtype]
        options.outDataType = TENSOR_TYPES[kind.dtype]
        return self._step(Operator("CAST", options), [tensor], kind, part, reduced)

    def look_up(
        self,
        table: npt.NDArray[Any],
        kind: TensorType,
        index: int,
        part: str,
        name: str = "",
    ) -> int:
        options = schema.GatherOptionsT()
        options.axis = 0
        stored = name or f"{self.what.name}/{part}_table"
        entries = self.context.operand(Parameter(table, kind), stored)
        return self._step(Operator("GATHER", options), [entries, index], kind, part, reduced=True)

    def constant(self, values: Reals, part: str) -> int:
        kind = _int16(max(float(np.abs(values).max()), 1e-30) / _HIGHEST)
        return self.context.operand(quantized_constant(values, kind), f"{self.what.name}/{part}")
