"""Which QuantizeLinear and DequantizeLinear nodes of a graph belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.graph.torch_twin.dtypes import LIMITS
from edgekit.graph.torch_twin.registry import Refusal
from edgekit.graph.values import (
    Array,
    constant_array,
    input_at,
    int_attribute,
    is_op,
    string_attribute,
)

SELECTING_OPS = frozenset({
    "MaxPool", "GlobalMaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
    "Slice", "Split", "Concat", "Gather", "DepthToSpace", "SpaceToDepth", "Expand", "Tile",
    "Identity", "Pad", "Resize",
})  # fmt: skip
"""Ops that only move values about, so that quantized values stay quantized (`selects`)."""
_SAME_SCALE_OPS = SELECTING_OPS | {"AveragePool"}
"""Ops whose output has the parameters of the input where the graph says so."""
_FIXED_OPS = ("Softmax", "LogSoftmax", "Sigmoid", "Tanh", "HardSigmoid")
"""Ops whose output range is known; kernels demand the parameters that the graph gives them."""


def selects(node: ir.Node) -> bool:
    """True for a node that gives elements of its input (or zeros), and nothing computed."""
    if node.domain != "" or node.op_type not in SELECTING_OPS:
        return False
    if node.op_type == "Pad":
        if string_attribute(node, "mode", "constant") != "constant":
            return True
        fill = input_at(node, 2)
        array = constant_array(fill)
        return fill is None or (array is not None and not array.any())
    if node.op_type == "Resize":
        return string_attribute(node, "mode", "nearest") == "nearest"
    return True


def data_inputs(node: ir.Node) -> tuple[ir.Value, ...]:
    """Inputs of a same-scale op that hold values, without shapes, axes and indices."""
    inputs = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return tuple(value for value in inputs if value is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """Constant parameters of a QuantizeLinear or DequantizeLinear.

    Attributes:
        scale: ``float32``, a scalar, ``[channels]``, or one number a block.
        zero_point: ``int64`` of the same shape.
        dtype: Type of the integers.
        axis: Axis of the channels or blocks; None for a scalar.
        block: Neighbours along the axis that share a scale; 0 for channels.
    """

    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.int64]
    dtype: ir.DataType
    axis: int | None
    block: int = 0

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for equal parameters."""
        return self.scale.tobytes(), self.zero_point.tobytes(), self.dtype, self.axis, self.block


def read_affine(node: ir.Node) -> Affine | None:
    """Parameters of a Q or DQ node; None when the graph computes them.

    Raises:
        Refusal: If the node quantizes in unequal blocks, or to a type without whole numbers.
    """
    scale = constant_array(input_at(node, 1))
    zero_value = input_at(node, 2)
    zero_point = constant_array(zero_value)
    if scale is None or (zero_value is not None and zero_point is None):
        return None
    dtype = _integer_type(node)
    if dtype not in LIMITS:
        raise Refusal(f"quantization to {dtype}", ", ".join(map(str, LIMITS)))
    block = int_attribute(node, "block_size", 0)
    if block:
        return _blocks(node, scale, zero_point, (dtype, block))
    if scale.ndim > 1:
        raise Refusal(f"a scale of {scale.ndim} axes", "one scale, or one scale a channel")
    zeros = np.zeros(scale.shape) if zero_point is None else zero_point
    axis = None if scale.size == 1 else int_attribute(node, "axis", 1)
    shape = () if axis is None else (-1,)
    return Affine(
        scale.astype(np.float32).reshape(shape),
        zeros.astype(np.int64).reshape(shape),
        dtype,
        axis,
    )


def _blocks(
    node: ir.Node, scale: Array, zero_point: Array | None, kind: tuple[ir.DataType, int]
) -> Affine:
    dtype, block = kind
    axis = int_attribute(node, "axis", 1) % scale.ndim
    value = input_at(node, 0)
    length = None if value is None or value.shape is None else value.shape[axis]
    if length != scale.shape[axis] * block:
        raise Refusal(
            f"an axis of {length} in {scale.shape[axis]} blocks of {block}", "full blocks only"
        )
    zeros = np.zeros(scale.shape) if zero_point is None else zero_point
    return Affine(scale.astype(np.float32), zeros.astype(np.int64), dtype, axis, block)


def _integer_type(node: ir.Node) -> ir.DataType:
    zero_point = input_at(node, 2)
    if zero_point is not None and zero_point.dtype is not None:
        return zero_point.dtype
    if node.op_type == "DequantizeLinear":
        stored = input_at(node, 0)
        return (stored.dtype if stored is not None else None) or ir.DataType.UINT8
    chosen = int_attribute(node, "output_dtype", 0)
    return ir.DataType(chosen) if chosen else ir.DataType.UINT8


def is_constant(value: ir.Value | None) -> bool:
    """True for an initializer or the output of a Constant."""
    return constant_array(value) is not None


@dataclass(frozen=True, slots=True)
class Pair:
    """A QuantizeLinear and the DequantizeLinear nodes that read it.

    Attributes:
        quantize: The first.
        dequantize: The others, with the same parameters.
        parameters: Of all of them.
    """

    quantize: ir.Node
    dequantize: tuple[ir.Node, ...]
    parameters: Affine


def find_pair(quantize: ir.Node) -> Pair | None:
    """The fake quantization that begins with ``quantize``; None where it stands for itself.

    Raises:
        Refusal: If a DequantizeLinear reads it with other parameters: what it computes has no
            gradient that would make sense.
    """
    parameters = read_affine(quantize)
    output = quantize.outputs[0]
    readers = [use.node for use in output.uses()]
    if (
        parameters is None
        or output.is_graph_output()
        or not readers
        or not all(is_op(reader, "DequantizeLinear") for reader in readers)
    ):
        return None
    for reader in readers:
        found = read_affine(reader)
        if found is None or found.key != parameters.key:
            raise Refusal(
                f"node {reader.name!r} dequantizes it with another scale, zero point or type",
                "the same parameters on both sides",
            )
    return Pair(quantize, tuple(readers), parameters)


class ScaleGroups:
    """Divides the Q and DQ nodes of a graph into groups that must keep equal parameters.

    Values that a same-scale op reads and gives belong together, and so do both sides of a
    pair; a group that has several sets of parameters all the same is divided by them.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._parent: dict[ir.Value, ir.Value] = {}
        self._fixed: set[ir.Value] = set()
        for node in graph:
            if is_op(node, "QuantizeLinear", "DequantizeLinear"):
                if input_at(node, 0) is not None:
                    self._join(node.inputs[0], node.outputs[0])
            elif is_op(node, *_SAME_SCALE_OPS):
                for value in (*data_inputs(node), *node.outputs[1:]):
                    self._join(value, node.outputs[0])
        for node in graph:
            if is_op(node, *_FIXED_OPS):
                self._fixed.add(self._root(node.outputs[0]))

    def group_of(self, node: ir.Node) -> ir.Value:
        """What stands for the group of a Q or DQ node; the same object for all of them."""
        return self._root(node.outputs[0])

    def is_fixed(self, node: ir.Node) -> bool:
        """True when the group's parameters must stay what they are."""
        return self.group_of(node) in self._fixed

    def _root(self, value: ir.Value) -> ir.Value:
        root = value
        while (parent := self._parent.get(root, root)) is not root:
            root = parent
        while (parent := self._parent.get(value, value)) is not root and parent is not value:
            self._parent[value] = root
            value = parent
        return root

    def _join(self, one: ir.Value | None, other: ir.Value) -> None:
        if one is not None:
            self._parent[self._root(one)] = self._root(other)
