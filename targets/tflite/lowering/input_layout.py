"""Chooses whether an image-like input is stored NHWC."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.targets.tflite.lowering.layout import NHWC, Axes, identity

_SPATIAL = frozenset(
    {
        "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool",
        "GlobalMaxPool", "Resize", "DepthToSpace", "SpaceToDepth",
    }
)  # fmt: skip
_TRANSPARENT = frozenset(
    {
        "Abs", "Add", "Cast", "Clip", "Concat", "Div", "Elu", "Exp", "HardSigmoid", "HardSwish",
        "DequantizeLinear", "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg", "Pad", "PRelu",
        "QuantizeLinear", "Relu", "Sigmoid",
        "Slice", "Split", "Sqrt", "Sub", "Tanh",
    }
)  # fmt: skip
_IMAGE_RANK = 4


def choose_input_axes(value: ir.Value) -> Axes:
    """NHWC for a rank-4 input that reaches a spatial operator through elementwise ones.

    Any other input keeps the order it has in ONNX.
    """
    rank = len(value.shape) if value.shape is not None else 0
    if rank == _IMAGE_RANK and _reaches_spatial(value):
        return NHWC
    return identity(rank)


def has_spatial_operator(graph: ir.Graph) -> bool:
    """Whether a graph has an operator that looks at height and width."""
    return any(node.op_type in _SPATIAL for node in graph)


def _reaches_spatial(value: ir.Value) -> bool:
    seen: set[ir.Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for node in current.consumers():
            if node.op_type in _SPATIAL:
                return True
            if node.op_type in _TRANSPARENT:
                pending.extend(node.outputs)
    return False
