"""What QuantizeLinear and DequantizeLinear say about the values of a graph.

A QDQ graph computes in float between rounded values: ``x -> Q -> DQ -> op -> Q -> DQ``.
TFLite computes the same on integers when the tensors carry the scales and zero points of the
Q/DQ nodes. This module reads them; no scale is derived anew.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, optional_input

type Array = npt.NDArray[Any]

INTEGER_TYPES = ("int8", "uint8", "int16", "int32", "int4")
_MOVED_BLOCKS = "weights in blocks whose elements have to be moved out of their blocks"
_WHOLE_BLOCKS = "weights quantized along an axis"


@dataclass(frozen=True, slots=True)
class Quantization:
    """``real = scale * (integer - zero_point)``, for a tensor, each slice, or each block.

    Attributes:
        scales: float32 values: one, or one for each slice; for blocks those of an array with
            the tensor's shape, ``axis`` divided by ``block_size``.
        zero_points: As many integers.
        axis: Sliced axis in the tensor's own order, or the one that is divided into blocks;
            None for the whole tensor.
        block_size: Elements along ``axis`` that share a scale; 0 unless there are blocks.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None
    block_size: int = 0

    def scale_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape in which the scales broadcast over a tensor, block by block.

        Args:
            shape: The tensor's.
        """
        if self.block_size:
            return tuple(
                size // self.block_size if axis == self.axis else size
                for axis, size in enumerate(shape)
            )
        return tuple(len(self.scales) if axis == self.axis else 1 for axis in range(len(shape)))


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type of a stored tensor, with its quantization where it holds integers.

    Attributes:
        dtype: Name of the type.
        quantization: What the integers stand for.
        sparse: Whether a constant is stored without its zeros; a DENSIFY alone may read it.
    """

    dtype: str
    quantization: Quantization | None = None
    sparse: bool = False


FLOAT32 = TensorType("float32")
SPARSE_FLOAT32 = TensorType("float32", sparse=True)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A constant: floats, or integers with their quantization.

    Attributes:
        array: Content.
        type: Element type.
    """

    array: Array
    type: TensorType

    def rearranged(self, change: Callable[[Array], Array], axis: int) -> Parameter:
        """The constant with moved elements.

        Args:
            change: Moves or repeats elements; must not compute with them.
            axis: Where the sliced axis of the quantization lies afterwards.
        """
        quantization = self.type.quantization
        array = change(self.array)
        if quantization is not None and quantization.block_size:
            quantization = _moved_blocks(quantization, self.array.shape, change, array.shape)
        elif quantization is not None and quantization.axis is not None:
            quantization = replace(quantization, axis=axis)
        return Parameter(array, replace(self.type, quantization=quantization))


def _moved_blocks(
    quantization: Quantization,
    before: tuple[int, ...],
    change: Callable[[Array], Array],
    after: tuple[int, ...],
) -> Quantization:
    """The quantization of blocks after their axes were exchanged; refuses any other change."""
    shape = quantization.scale_shape(before)
    try:
        scales = change(np.array(quantization.scales, np.float32).reshape(shape))
        points = change(np.array(quantization.zero_points).reshape(shape))
    except (IndexError, ValueError):
        raise Refusal(_MOVED_BLOCKS, _WHOLE_BLOCKS) from None
    for axis in range(len(after)):
        moved = replace(
            quantization,
            scales=tuple(float(item) for item in scales.reshape(-1)),
            zero_points=tuple(int(item) for item in points.reshape(-1)),
            axis=axis,
        )
        if moved.scale_shape(after) == scales.shape:
            return moved
    raise Refusal(_MOVED_BLOCKS, _WHOLE_BLOCKS)


@dataclass(frozen=True, slots=True)
class QuantizedValues:
    """Quantization of a graph's values.

    Attributes:
        activations: Type of every value that is the only input of a QuantizeLinear that alone
            reads it, and of every dequantized activation.
        constants: Integers behind every dequantized initializer.
        integers: Type of every value that holds integers: what a QuantizeLinear gives and what
            a DequantizeLinear reads, uint8 as the int8 of the same real values.
    """

    activations: dict[ir.Value, TensorType] = field(default_factory=dict)
    constants: dict[ir.Value, Parameter] = field(default_factory=dict)
    integers: dict[ir.Value, TensorType] = field(default_factory=dict)


def read_quantized_values(graph: ir.Graph) -> QuantizedValues:
    """Reads the Q/DQ nodes of a graph; the graph is not modified.

    A node that cannot be read is left out: its own lowering refuses it.
    """
    values = QuantizedValues()
    for node in graph:
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}:
            with contextlib.suppress(Refusal):
                _read_node(node, values)
    return values


def _read_node(node: ir.Node, values: QuantizedValues) -> None:
    value, kind = node.inputs[0], parameters_of(node)
    if node.op_type == "QuantizeLinear":
        values.integers[node.outputs[0]] = signed(kind)
        if value is not None and len(list(value.uses())) == 1 and not value.is_graph_output():
            values.activations[value] = signed(kind)
    elif value is not None and value.const_value is not None:
        integers = np.asarray(value.const_value.numpy())
        if kind.dtype == "int4":
            # One element a byte while they are moved; the file packs two.
            integers = integers.astype(np.int8)
        values.constants[node.outputs[0]] = _signed(Parameter(integers, kind))
    else:
        values.activations[node.outputs[0]] = signed(kind)
        if value is not None:
            values.integers.setdefault(value, signed(kind))


def parameters_of(node: ir.Node) -> TensorType:
    """Integer type, scales and zero points of a QuantizeLinear or DequantizeLinear node.

    Raises:
        Refusal: If they are not constant, or TFLite has no such tensors.
    """
    scale, zero_point = optional_input(node, 1), optional_input(node, 2)
    if scale is None or scale.const_value is None:
        raise Refusal("a scale computed at run time", "a constant scale")
    scales = np.asarray(scale.const_value.numpy(), np.float32)
    block_size = int_attribute(node, "block_size", 0)
    if zero_point is None:
        integers = np.zeros(scales.shape, np.uint8)
        dtype = _integer_type(node)
    elif zero_point.const_value is None:
        raise Refusal("a zero point computed at run time", "a constant zero point")
    else:
        integers = np.asarray(zero_point.const_value.numpy())
        dtype = integers.dtype.name
    if dtype not in INTEGER_TYPES:
        raise Refusal(f"quantization to {dtype}", ", ".join(INTEGER_TYPES))
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise Refusal("a scale that is not positive and finite")
    if dtype == "int16" and integers.any():
        raise Refusal("16-bit integers with a zero point other than 0", "zero point 0")
    per_axis = scales.ndim == 1 and scales.size > 1
    value = node.inputs[0]
    shape = value.shape if value is not None and value.shape is not None else ()
    axis = int_attribute(node, "axis", 1) % max(len(shape), 1)
    if block_size and (value is None or value.const_value is None or shape[axis] % block_size):
        raise Refusal(
            f"blocks of {block_size} along {shape[axis] if shape else '?'} elements",
            "blocks of a constant that divide its axis",
        )
    return TensorType(
        dtype,
        Quantization(
            tuple(float(item) for item in scales.reshape(-1)),
            tuple(int(item) for item in integers.reshape(-1)),
            axis if per_axis or block_size else None,
            block_size,
        ),
    )


class Reader(NamedTuple):
    """A node that reads a value, and at which input."""

    node: ir.Node
    idx: int


def readers(value: ir.Value) -> list[Reader]:
    """Uses of a value, looking through the Q/DQ pairs that read it."""
    found: list[Reader] = []
    for use in value.uses():
        if use.node.op_type in {"QuantizeLinear", "DequantizeLinear"} and use.idx == 0:
            found += readers(use.node.outputs[0])
        else:
            found.append(Reader(use.node, use.idx))
    return found


def is_constant(value: ir.Value) -> bool:
    """Whether a value is an initializer, dequantized or not."""
    producer = value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        source = producer.inputs[0]
        return source is not None and source.const_value is not None
    return value.const_value is not None


def is_in_blocks(value: ir.Value) -> bool:
    """Whether a value is an initializer that is dequantized block by block."""
    producer = value.producer()
    blocks = 0 if producer is None else int_attribute(producer, "block_size", 0)
    return is_constant(value) and blocks > 0


def signed(tensor_type: TensorType) -> TensorType:
    """The int8 type with the same real values as a uint8 one: its zero points less 128.

    TFLite's integer kernels are int8; ONNX Runtime's on x86 fuse for uint8.
    """
    quantization = tensor_type.quantization
    if tensor_type.dtype != "uint8" or quantization is None:
        return tensor_type
    shifted = tuple(point - 128 for point in quantization.zero_points)
    return TensorType("int8", replace(quantization, zero_points=shifted))


def unsigned(tensor_type: TensorType) -> TensorType:
    """The uint8 type with the same real values as an int8 one: the inverse of `signed`."""
    quantization = tensor_type.quantization
    if tensor_type.dtype != "int8" or quantization is None:
        return tensor_type
    shifted = tuple(point + 128 for point in quantization.zero_points)
    return TensorType("uint8", replace(quantization, zero_points=shifted))


def accumulator_type(activation: TensorType, weights: TensorType) -> TensorType:
    """Type of a bias: int32 with scale ``scale_x * scale_w``, float where those are floats.

    Raises:
        Refusal: If the weights are not symmetric, which integer kernels demand.
    """
    if activation.quantization is None or weights.quantization is None:
        return FLOAT32
    if any(weights.quantization.zero_points):
        raise Refusal("weights with a zero point other than 0", "symmetric weights")
    factor = np.float32(activation.quantization.scales[0])
    scales = tuple(float(factor * np.float32(item)) for item in weights.quantization.scales)
    axis = 0 if len(scales) > 1 else None
    return TensorType("int32", Quantization(scales, (0,) * len(scales), axis))


def is_never_negative(tensor_type: TensorType) -> bool:
    """Whether the smallest integer of a quantized type stands for 0."""
    quantization = tensor_type.quantization
    if quantization is None:
        return False
    return all(p == np.iinfo(tensor_type.dtype).min for p in quantization.zero_points)


def dequantized(parameter: Parameter) -> Array:
    """Real values of a quantized constant, float32 as ONNX's DequantizeLinear computes them."""
    quantization = parameter.type.quantization
    if quantization is None:
        return parameter.array
    shape = quantization.scale_shape(parameter.array.shape)
    points = np.array(quantization.zero_points, np.int64).reshape(shape)
    scales = np.array(quantization.scales, np.float32).reshape(shape)
    if quantization.axis is None:
        points, scales = points.reshape(()), scales.reshape(())
    elif quantization.block_size:
        points = np.repeat(points, quantization.block_size, quantization.axis)
        scales = np.repeat(scales, quantization.block_size, quantization.axis)
    return (parameter.array.astype(np.int64) - points).astype(np.float32) * scales


def _signed(parameter: Parameter) -> Parameter:
    if parameter.type.dtype != "uint8":
        return parameter
    integers = (parameter.array.astype(np.int16) - 128).astype(np.int8)
    return Parameter(integers, signed(parameter.type))


def _integer_type(node: ir.Node) -> str:
    """Type of the integers where no zero point states it."""
    integers = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    if integers is None or integers.dtype is None:
        return "uint8"
    return integers.dtype.numpy().name
