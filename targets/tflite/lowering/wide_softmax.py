"""Softmax of 16-bit values from integer operators, where LiteRT's kernel is too coarse.

SOFTMAX on int16 counts every value more than 10 below the largest as ``exp(-10)``, two steps of
its output. A few such values do no harm, 200 of them take hundreds of steps from the others. Here
``exp`` is a table of the distance to the largest, and sums and quotients are int32:

    e = table[max - x]      in units that let the sum of all fit into int32
    y = e * 2^15 / sum(e)   with e and its sum brought to units of 2^-15
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.layout import Dim
from edgekit.targets.tflite.lowering.quantization import Parameter, Quantization, TensorType

FIXED = TensorType("int16", Quantization((1 / 32768,), (0,)))
"""Parameters of the result, those of LiteRT's kernel."""
_INT32 = TensorType("int32")
_KERNEL_RANGE, _KERNEL_VALUES = 10.0, 3
_INTEGERS = 2**16
_RESULT_BITS = 15
_SUM_BITS = 30


def kernel_is_precise(source: TensorType, count: Dim) -> bool:
    """Whether LiteRT's kernel is within a few steps.

    Args:
        source: Type of the input, int16.
        count: Values that are normalised together.
    """
    assert source.quantization is not None
    span = (_INTEGERS - 1) * source.quantization.scales[0]
    return span <= _KERNEL_RANGE or (isinstance(count, int) and count <= _KERNEL_VALUES)


def write_softmax(context: LoweringContext, tensor: int, stored: Sequence[Dim], name: str) -> int:
    """Writes the softmax over the last stored axis.

    Args:
        context: The lowering.
        tensor: int16 with one scale.
        stored: Its shape.
        name: Name of the result.

    Returns:
        A tensor of type `FIXED`.

    Raises:
        Refusal: If the size of the axis is not known, which bounds the sum.
    """
    count = stored[-1]
    if isinstance(count, str):
        raise Refusal("a 16-bit softmax over a dynamic axis", "static axes")
    writer = _Writer(context, name, (*stored[:-1], 1), tuple(stored))
    source = context.model.type_of(tensor)
    assert source.quantization is not None
    units = _SUM_BITS - math.ceil(math.log2(max(count, 2)))
    excess = max(units - _RESULT_BITS, 0)
    table = _exponentials(source.quantization.scales[0], 2.0**units)
    largest = writer.reduce("REDUCE_MAX", tensor, source)
    largest = writer.cast(largest, "int32", writer.single)
    distance = writer.cast(tensor, "int32", writer.shape)
    distance = writer.binary("SUB", largest, distance, writer.shape)
    distance = writer.with_constant("MINIMUM", distance, len(table) - 1, writer.shape)
    powers = writer.look_up(table, distance)
    total = writer.reduce("SUM", powers, _INT32)
    total = writer.with_constant("DIV", total, 2**excess, writer.single)
    shares = writer.with_constant("DIV", powers, 2**excess, writer.shape)
    shares = writer.with_constant("MUL", shares, 2**_RESULT_BITS, writer.shape)
    shares = writer.binary("DIV", shares, total, writer.shape)
    shares = writer.with_constant("MINIMUM", shares, 2**_RESULT_BITS - 1, writer.shape)
    return writer.cast(shares, "int16", writer.shape, FIXED)


def _exponentials(scale: float, unit: float) -> np.ndarray[Any, np.dtype[np.int32]]:
    """``exp`` of every distance from the largest value, up to one where it rounds to 0."""
    length = min(_INTEGERS, math.ceil(math.log(2 * unit) / scale) + 1)
    powers = np.rint(unit * np.exp(-np.arange(length) * scale))
    return np.asarray(powers, np.int32)


class _Writer:
    """Writes operators one after the other, under numbered names."""

    def __init__(
        self,
        context: LoweringContext,
        name: str,
        single: tuple[Dim, ...],
        shape: tuple[Dim, ...],
    ) -> None:
        self._context, self._name, self._count = context, name, 0
        self.single, self.shape = single, shape

    def reduce(self, name: str, tensor: int, kind: TensorType) -> int:
        options = schema.ReducerOptionsT()
        options.keepDims = True
        axis = np.array([len(self.shape) - 1], np.int32)
        inputs = [tensor, self._context.index_tensor(axis, f"{self._name}/axis")]
        return self._step(Operator(name, options), inputs, self.single, kind)

    def cast(
        self, tensor: int, dtype: str, shape: tuple[Dim, ...], kind: TensorType | None = None
    ) -> int:
        options = schema.CastOptionsT()
        options.inDataType = TENSOR_TYPES[self._context.model.type_of(tensor).dtype]
        options.outDataType = TENSOR_TYPES[dtype]
        operator = Operator("CAST", options)
        if kind is None:
            return self._step(operator, [tensor], shape, TensorType(dtype))
        return self._context.step(operator, [tensor], shape, kind, self._name)

    def binary(self, name: str, left: int, right: int, shape: tuple[Dim, ...]) -> int:
        options = {
            "DIV": schema.DivOptionsT,
            "MINIMUM": schema.MaximumMinimumOptionsT,
            "MUL": schema.MulOptionsT,
            "SUB": schema.SubOptionsT,
        }[name]()
        return self._step(Operator(name, options), [left, right], shape, _INT32)

    def with_constant(self, name: str, tensor: int, number: int, shape: tuple[Dim, ...]) -> int:
        constant = Parameter(np.array(number, np.int32), _INT32)
        return self.binary(name, tensor, self._context.operand(constant, f"int32/{number}"), shape)

    def look_up(self, table: np.ndarray[Any, np.dtype[np.int32]], index: int) -> int:
        options = schema.GatherOptionsT()
        options.axis = 0
        entries = self._context.operand(Parameter(table, _INT32), f"{self._name}/exponentials")
        return self._step(Operator("GATHER", options), [entries, index], self.shape, _INT32)

    def _step(
        self, operator: Operator, inputs: list[int], shape: tuple[Dim, ...], kind: TensorType
    ) -> int:
        self._count += 1
        return self._context.step(operator, inputs, shape, kind, f"{self._name}/{self._count}")
