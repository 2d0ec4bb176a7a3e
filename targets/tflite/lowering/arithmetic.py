"""Whether a node of a QDQ graph computes on integers, and why not."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.quantization import is_constant
from edgekit.targets.tflite.lowering.registry import OpSupport

_WITH_QUANTIZED_CONSTANTS = frozenset(
    {"Add", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Mul", "PRelu", "Sub"}
)
"""Operators whose constant operands are quantized wherever they compute on integers."""
_WITH_OPERANDS_OF_ONE_TYPE = frozenset({"Add", "Div", "Mul", "PRelu", "Sub"})
_NOT_QUANTIZED = "the graph does not quantize what it reads and gives"


def reason_in_float(context: LoweringContext, node: ir.Node, support: OpSupport) -> str:
    """Why a node does not compute on integers; empty where it does.

    It does between quantized values of one type that TFLite has a kernel for.
    """
    operands = [value for value in node.inputs if value is not None]
    computed = [v for v in operands if v.dtype == ir.DataType.FLOAT and not is_constant(v)]
    _, result = context.fused_activation(node)
    used = [output for output in node.outputs if output.uses() or output.is_graph_output()]
    outputs = [result] if len(node.outputs) == 1 else used
    kinds = [context.quantized.activations.get(value) for value in (*computed, *outputs)]
    if not computed or None in kinds:
        return _NOT_QUANTIZED
    dtypes = sorted({kind.dtype for kind in kinds if kind is not None})
    if len(dtypes) != 1:
        return f"what it reads and gives are {' and '.join(dtypes)}"
    if not support.computes_on(dtypes[0]):
        return f"{node.op_type} has no {dtypes[0]} kernel"
    if node.op_type not in _WITH_QUANTIZED_CONSTANTS:
        return ""
    constants = [context.quantized.constants.get(v) for v in operands if v not in computed]
    if None in constants:
        # A layer that mixed precision keeps in float.
        return "its constants are float"
    others = {item.type.dtype for item in constants if item is not None} - {dtypes[0]}
    if others and node.op_type in _WITH_OPERANDS_OF_ONE_TYPE:
        return f"its constants are {' and '.join(sorted(others))}, what it reads is {dtypes[0]}"
    return ""
