"""Types of numbers that the layers of an ONNX file compute with."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from edgekit.graph.inspect import LAYERS
from edgekit.graph.io import load_onnx
from edgekit.graph.values import constant_array, input_at, is_op


def arithmetic_of(path: Path) -> str:
    """For example ``"uint8 x int8"``: activations and weights of the layers.

    Operands behind a DequantizeLinear count as the integers that it reads. Where layers differ,
    all kinds are named.

    Raises:
        InputError: If the file is missing or damaged.
    """
    model = load_onnx(path)
    kinds = {
        " x ".join(_type(input_at(node, place)) for place in (0, 1))
        for node in model.graph
        if is_op(node, *LAYERS)
    }
    return ", ".join(sorted(kinds)) or "none"


def _type(value: ir.Value | None) -> str:
    """Type of a value, through the DequantizeLinear that gives it."""
    while value is not None and (node := value.producer()) is not None:
        unknown_move = node.op_type in {"Transpose", "Reshape"} and value.dtype is None
        if node.op_type != "DequantizeLinear" and not unknown_move:
            break
        value = node.inputs[0]
    if value is None:
        return "none"
    array = constant_array(value)
    if array is not None:
        return str(array.dtype)
    if value.dtype is not None:
        return ir.DataType(value.dtype).numpy().name
    maker = value.producer()
    if maker is not None and maker.op_type == "QuantizeLinear":
        zero = constant_array(input_at(maker, 2))
        return "uint8" if zero is None else str(zero.dtype)
    return "float32"
