"""Chooses whether an image-like input is stored with its channels last."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.targets.tflite.lowering.layout import NHWC, NLC, Axes, identity

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
_CHANNELS_LAST: dict[int, Axes] = {3: NLC, 4: NHWC}


def choose_input_axes(value: ir.Value) -> Axes:
    """Channels last for an input that reaches a spatial operator through elementwise ones.

    That is NHWC for rank 4 and NLC for rank 3. Any other input keeps the order it has in ONNX.
    """
    rank = len(value.shape) if value.shape is not None else 0
    if rank in _CHANNELS_LAST and _reaches_spatial(value):
        return _CHANNELS_LAST[rank]
    return identity(rank)


def keeps_stored(graph: ir.Graph, axes: Axes) -> bool:
    """Whether outputs stored in the order ``axes`` stay in it.

    One rule for a whole model: values with spatial axes have their channels last where there is
    anything to convolve.
    """
    return axes == _CHANNELS_LAST.get(len(axes)) and any(
        node.op_type in _SPATIAL
        and node.inputs[0] is not None
        and node.inputs[0].shape is not None
        and len(node.inputs[0].shape) == len(axes)
        for node in graph
    )


def _reaches_spatial(value: ir.Value) -> bool:
    seen: set[ir.Value] = set()
    pending = [value]
    rank = len(value.shape) if value.shape is not None else 0
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for node in current.consumers():
            if node.op_type in _SPATIAL:
                return True
            if node.op_type in _TRANSPARENT:
                pending += [
                    output
                    for output in node.outputs
                    if output.shape is not None and len(output.shape) == rank
                ]
    return False
