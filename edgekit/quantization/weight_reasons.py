"""Why constants of a unit stay float where weights alone are quantized."""

from __future__ import annotations

import numpy as np

from edgekit.graph.values import constant_array, float_attribute, int_attribute
from edgekit.quantization.units import LAYERS, Unit

_RECURRENT = frozenset({"GRU", "LSTM", "RNN"})
_WORTH_TELLING = 1024
"""Elements of a constant below which nobody would miss it among the quantized ones."""


def weight_reason(unit: Unit) -> str:
    """Why the constants of ``unit`` stay float; empty when its weights can be quantized.

    Also empty for a unit without constants that are worth telling of.
    """
    weights = constant_array(unit.weight)
    if weights is None:
        return _constants_reason(unit)
    node = unit.node
    if weights.dtype != np.float32:
        return f"its weights are {weights.dtype.name}, not float32"
    if node.op_type == "ConvTranspose" and int_attribute(node, "group", 1) > 1:
        return "a transposed convolution with groups has no kernel for integer weights"
    if node.op_type == "Gemm" and float_attribute(node, "alpha", 1.0) != 1.0:
        return "Gemm with alpha other than 1 has no kernel for integer weights"
    return ""


def _constants_reason(unit: Unit) -> str:
    node = unit.node
    arrays = [constant_array(value) for value in node.inputs]
    sizes = [array.size for array in arrays if array is not None and array.dtype == np.float32]
    if not sizes:
        return ""
    if node.op_type in _RECURRENT:
        return f"{node.op_type}: weights of recurrent layers are not quantized"
    if max(sizes) < _WORTH_TELLING:
        return ""
    what = f"its constant of {max(sizes)} numbers stays float"
    if node.op_type in LAYERS:
        return f"{what}: only matrices and convolution kernels are quantized as weights"
    return f"{what}: {node.op_type} is no layer"
