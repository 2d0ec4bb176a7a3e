"""Functions of one value that have no integer kernel: a table of their results.

With 8 bits there are 256 inputs, with 16 bits 65,536, and the result of each is known when the
model is written. ``GATHER(table, CAST(x) - lowest)`` gives it, exactly rounded and in integers
alone, in about 3 ns an element on one x86 core. A 16-bit table takes 128 KB.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, Operator
from edgekit.targets.tflite.lowering.interpolation import (
    Function,
    interpolated_integers,
    real_values,
)
from edgekit.targets.tflite.lowering.quantization import Parameter, TensorType
from edgekit.targets.tflite.lowering.requantize import quantized_constant

PRECISE_ENOUGH = 4
"""Largest error, in steps of 65,536, with which 16-bit kernels are preferred to a table."""


def lower_function(
    context: LoweringContext,
    node: ir.Node,
    function: Function,
    interpolating: Operator | None = None,
) -> None:
    """Writes ``function`` of a node's quantized input 0, of any shape.

    Args:
        context: The lowering.
        node: Gives ``function(input 0)``.
        function: On real numbers; NaN becomes the lowest integer, as in ONNX Runtime.
        interpolating: LiteRT's kernel for it, taken with 16 bits where it is precise enough.
    """
    value, result = node.inputs[0], node.outputs[0]
    assert value is not None
    source, target = context.type_of(value), context.type_of(result)
    tensor, axes = context.tensor(value), context.axes(value)
    table = _table(function, source, target)
    if source.dtype == "int16" and interpolating is not None:
        made = interpolated_integers(function, source, target)
        if np.abs(made - table.array).max() <= PRECISE_ENOUGH:
            context.result(result, interpolating, [tensor], axes)
            return
    shape = [context.shape(value)[axis] for axis in axes]
    integer, name = TensorType("int32"), str(result.name)
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = TENSOR_TYPES[source.dtype], TENSOR_TYPES["int32"]
    wide = context.step(Operator("CAST", cast), [tensor], shape, integer, f"{name}/wide")
    lowest = Parameter(np.array(np.iinfo(source.dtype).min, np.int32), integer)
    inputs = [wide, context.operand(lowest, f"{source.dtype}/lowest")]
    operator = Operator("SUB", schema.SubOptionsT())
    index = context.step(operator, inputs, shape, integer, f"{name}/index")
    entries = context.operand(table, f"{name}/table")
    gather = schema.GatherOptionsT()
    gather.axis = 0
    context.result(result, Operator("GATHER", gather), [entries, index], axes)


def _table(function: Function, source: TensorType, target: TensorType) -> Parameter:
    with np.errstate(all="ignore"):
        results = function(real_values(source))
    return quantized_constant(np.where(np.isnan(results), -np.inf, results), target)
