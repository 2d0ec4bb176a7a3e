"""Whether a quantized graph can compute in float16 without a scale changing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.values import constant_array, input_at, is_op


def inexact_scales(model: ir.Model) -> list[str]:
    """Q/DQ nodes with a scale that float16 does not represent, by the name of their output.

    A DequantizeLinear of int32 is left out: its values become constants, not its scale.
    """
    found = []
    for node in model.graph:
        if not is_op(node, "QuantizeLinear", "DequantizeLinear"):
            continue
        source = input_at(node, 0)
        if source is not None and source.dtype == ir.DataType.INT32:
            continue
        scale = constant_array(input_at(node, 1))
        if scale is None:
            continue
        whole = np.asarray(scale, np.float32)
        with np.errstate(over="ignore"):
            if (whole.astype(np.float16).astype(np.float32) != whole).any():
                found.append(str(node.outputs[0].name))
    return found
