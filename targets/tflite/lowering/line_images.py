"""Values ``[N, C, L]`` seen as images ``[N, C, 1, L]``.

TFLite convolves and pools over two axes, so a value with one spatial axis is an image of height 1
there. Elementwise operators between such operators see images too: a RESHAPE stands only where
a value enters or leaves such a part of the graph.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from edgekit.graph.node_view import int_attribute
from edgekit.targets.tflite.lowering.layout import Axes, Dim
from edgekit.targets.tflite.lowering.quantization import is_constant

LINE_RANK = 3
_HEIGHT = 2
"""Place of the inserted axis of size 1 in an image ``[N, C, 1, L]``."""

_CONVOLVING = frozenset(
    {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
)
_ELEMENTWISE = frozenset(
    {
        "Abs", "Add", "Cast", "Ceil", "Clip", "Cos", "DequantizeLinear", "Div", "Dropout", "Elu",
        "Exp", "Floor", "Gelu", "GroupNormalization", "HardSigmoid", "HardSwish", "Identity",
        "InstanceNormalization", "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg", "PRelu", "Pow",
        "QuantizeLinear", "Reciprocal", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sqrt", "Sub",
        "Sum", "Tanh",
    }
)  # fmt: skip
_ALONG_CHANNELS = frozenset({"Concat", "Split"})


def image_dims(shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
    """Shape of a value, or of a constant that broadcasts with one, seen as an image."""
    return (*shape[:-1], 1, shape[-1]) if len(shape) in {LINE_RANK - 1, LINE_RANK} else shape


def image_axes(axes: Axes) -> Axes:
    """Storage order of the image of a value that is stored in the order ``axes``.

    The height stands before the length, so that going from one to the other is a RESHAPE.
    """
    moved: list[int] = []
    for axis in axes:
        moved += [_HEIGHT, _HEIGHT + 1] if axis == _HEIGHT else [axis]
    return tuple(moved)


def line_axes(axes: Axes) -> Axes:
    """Storage order of a value whose image is stored in the order ``axes``."""
    return tuple(min(axis, _HEIGHT) for axis in axes if axis != _HEIGHT)


def sees_images(node: ir.Node, is_image: Callable[[ir.Value], bool]) -> bool:
    """Whether a node is lowered on images of height 1.

    Args:
        node: The node.
        is_image: Whether a value of rank 3 is stored as an image already.
    """
    operands = [v for v in node.inputs if v is not None and not is_constant(v)]
    if any(_rank(value) != LINE_RANK for value in (*operands, *node.outputs)):
        return False
    if node.op_type in _CONVOLVING:
        return True
    if node.op_type in _ALONG_CHANNELS:
        constants = len(operands) < len(node.inputs) and node.op_type == "Concat"
        if int_attribute(node, "axis", 0) != 1 or constants:
            return False
    elif node.op_type not in _ELEMENTWISE:
        return False
    return any(is_image(value) for value in operands)


def _rank(value: ir.Value) -> int:
    return -1 if value.shape is None else len(value.shape)
