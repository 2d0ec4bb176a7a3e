"""Takes out clips that the QuantizeLinear behind them makes redundant.

The integers saturate where the clip does, so nothing changes. ONNX Runtime 1.26 finds such clips
itself, but by two rules that disagree where the range of the integers ends a little beyond the
clip: it then refuses the model ("two nodes with same node name").
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import constant_array, constant_scalar, input_at, is_op, only_consumer


def drop_redundant_clips(model: ir.Model) -> int:
    """Removes them; ``model`` is modified.

    Returns:
        How many there were.
    """
    count = 0
    for node in list(model.graph):
        if not is_op(node, "Clip") or node.inputs[0] is None:
            continue
        reader = only_consumer(node.outputs[0])
        if reader is None or not is_op(reader, "QuantizeLinear") or not _saturates(node, reader):
            continue
        ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
        model.graph.remove(node, safe=True)
        count += 1
    return count


def _saturates(clip: ir.Node, quantizer: ir.Node) -> bool:
    """Whether both limits of a clip become the lowest and the highest integer, or lie beyond."""
    scale = constant_scalar(input_at(quantizer, 1))
    zero_point = constant_array(input_at(quantizer, 2))
    if scale is None or zero_point is None or zero_point.size != 1:
        return False
    bits = 8 * zero_point.dtype.itemsize
    least = 0 if zero_point.dtype.kind == "u" else -(1 << (bits - 1))
    for index, end, lowest in ((1, least, True), (2, least + (1 << bits) - 1, False)):
        if input_at(clip, index) is None:
            continue
        bound = constant_scalar(input_at(clip, index))
        if bound is None:
            return False
        integer = np.rint(np.float32(bound) / np.float32(scale)) + int(zero_point.reshape(-1)[0])
        if (integer > end) if lowest else (integer < end):
            return False
    return True
