"""Integer weights of operators that compute on float activations.

TFLite has two ways. A *dynamic* (hybrid) kernel reads the integers and rounds the activations
to 8 bits as they come, which is fast and adds an error. A DEQUANTIZE in front of a float kernel
restores the weights when the file is loaded: exact, at the speed and with the memory of
float32. What LiteRT runs, and how fast, was measured; the target's README has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.node_view import Refusal
from edgekit.targets.tflite.lowering.block_scales import fit_float16
from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
    Parameter,
    Quantization,
    TensorType,
)

if TYPE_CHECKING:
    from edgekit.targets.tflite.lowering.context import LoweringContext

WEIGHT_TYPES = frozenset({"int4", "int8"})
"""Integers that weights are stored in."""
_MATRIX = 2
_WEIGHTS = 1
"""Place of the weights among the inputs of every operator with weights."""
_DYNAMIC = frozenset({"CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_HYBRID_CONV, _PER_CHANNEL_CONV = 2, 5
_ASYMMETRIC_LINEAR, _PER_CHANNEL_LINEAR = 9, 12
_BLOCK_MULTIPLE = 32
_FEWEST_UNITS_OF_BLOCKS = 4
_ACTIVATIONS = {
    schema.ActivationFunctionType.RELU: "RELU",
    schema.ActivationFunctionType.RELU_N1_TO_1: "RELU_N1_TO_1",
    schema.ActivationFunctionType.RELU6: "RELU6",
}


def layer_weights(context: LoweringContext, value: ir.Value, role: str, axis: int) -> Parameter:
    """Weights of a layer: integers wherever the graph has them, floats else.

    Args:
        context: The lowering.
        value: The constant, dequantized or not.
        role: What it is, for messages.
        axis: Where its outputs lie, which alone may have scales of their own.

    Raises:
        Refusal: As `LoweringContext.parameter`; and for scales along another axis.
    """
    parameter = context.quantized.constants.get(value)
    if parameter is None or parameter.type.dtype not in WEIGHT_TYPES:
        return context.parameter(value, role)
    quantization = parameter.type.quantization
    if quantization is None or quantization.axis is None:
        return parameter
    sliced, rank = quantization.axis, parameter.array.ndim
    if quantization.block_size and (rank != _MATRIX or sliced == axis):
        raise Refusal(
            f"{role} {value.name!r} in blocks along axis {sliced} of {rank}",
            "blocks of a matrix along its inputs",
        )
    if not quantization.block_size and sliced != axis:
        raise Refusal(
            f"{role} {value.name!r} with a scale for each slice along axis {sliced}",
            f"one scale, or one for each output (axis {axis})",
        )
    return parameter


@dataclass(frozen=True, slots=True)
class Runnable:
    """An operator as a kernel computes it.

    Attributes:
        operator: What is to be written.
        inputs: Tensors it reads.
        activation: Name of the operator that must follow; empty for none.
    """

    operator: Operator
    inputs: Sequence[int]
    activation: str = ""


def runnable(context: LoweringContext, operator: Operator, inputs: Sequence[int]) -> Runnable:
    """Lets an operator read integer weights, or restores them in front of it.

    Args:
        context: The lowering; its ``weight_compute`` says what is wished.
        operator: Any operator; one without integer weights, or on integer activations, is left
            alone.
        inputs: Tensors it reads.
    """
    weights = _integer_weights(context, inputs)
    if weights is None:
        return Runnable(operator, inputs)
    tensor = inputs[_WEIGHTS]
    exact = context.weight_compute == "exact"
    channels = context.model.shape_of(inputs[0])[-1:]
    grouped = operator.name == "CONV_2D" and channels != weights.array.shape[-1:]
    reason = "" if exact else _why_restored(operator, weights, grouped=grouped)
    if not exact and not reason:
        context.dynamic += 1
        return _dynamic(operator, inputs, weights.type)
    context.restored[reason] += 1
    changed = [*inputs]
    changed[_WEIGHTS] = _restored(context, tensor, weights)
    return Runnable(operator, changed)


def weight_notes(context: LoweringContext) -> tuple[str, ...]:
    """How a lowered graph computes with its integer weights: one sentence for each way."""
    notes = []
    if context.dynamic:
        notes.append(
            f"Dynamic range: {_layers(context.dynamic)} with integer weights, for which "
            "activations are rounded to 8 bits as they come; --weight-compute exact computes in "
            "float32."
        )
    for reason, count in context.restored.items():
        why = f": {reason}" if reason else ""
        notes.append(f"Integer weights restored to float32: {_layers(count)}{why}.")
    return tuple(notes)


def _layers(count: int) -> str:
    return "1 layer" if count == 1 else f"{count} layers"


def _integer_weights(context: LoweringContext, inputs: Sequence[int]) -> Parameter | None:
    """The weights of an operator where they are integers and its activations are not."""
    if len(inputs) <= _WEIGHTS:
        return None
    parameter = context.integer_weights.get(inputs[_WEIGHTS])
    others = [tensor for tensor in inputs if tensor >= 0 and tensor != inputs[_WEIGHTS]]
    computes_in_float = any(context.model.type_of(tensor) == FLOAT32 for tensor in others)
    return parameter if computes_in_float else None


def _why_restored(operator: Operator, weights: Parameter, *, grouped: bool) -> str:
    """Why LiteRT 2.1.2 cannot compute on these integers, or not well; empty where it can."""
    quantization = weights.type.quantization
    if operator.name not in _DYNAMIC or quantization is None:
        return f"the kernels of {operator.name} for integer weights are slower than float32"
    if any(quantization.zero_points):
        return "weights with zero points have no kernel"
    four_bits = weights.type.dtype == "int4"
    if operator.name == "FULLY_CONNECTED":
        return _why_no_blocks(quantization, weights.array.shape[0])
    if four_bits and operator.name == "TRANSPOSE_CONV":
        return "TRANSPOSE_CONV gives NaN for 4-bit weights"
    if grouped and four_bits:
        return "convolutions with groups have no kernel for 4-bit weights"
    if grouped and quantization.axis is None:
        # The builtin kernel reads a scale for each output; XNNPACK would be right.
        return "convolutions with groups need a scale for each output"
    return ""


def _why_no_blocks(quantization: Quantization, units: int) -> str:
    """The same for the blocks of a FULLY_CONNECTED."""
    if not quantization.block_size:
        return ""
    if quantization.block_size % _BLOCK_MULTIPLE:
        return f"XNNPACK takes blocks of a multiple of {_BLOCK_MULTIPLE} alone"
    if units < _FEWEST_UNITS_OF_BLOCKS:
        return (
            f"the builtin kernel for blocks is wrong with fewer than {_FEWEST_UNITS_OF_BLOCKS} "
            "outputs"
        )
    if not fit_float16(quantization):
        return "scales of blocks are stored with 8 digits, and theirs have more"
    return ""


def _dynamic(operator: Operator, inputs: Sequence[int], weights: TensorType) -> Runnable:
    """The operator with the options and version of a dynamic kernel."""
    quantization = weights.quantization
    assert quantization is not None
    options, activation = copy(operator.options), ""
    version = operator.version
    if operator.name == "FULLY_CONNECTED":
        # Without it the builtin kernel rounds symmetrically, with half the steps behind a Relu.
        options.asymmetricQuantizeInputs = True
        per_slice = quantization.axis is not None
        version = max(version, _PER_CHANNEL_LINEAR if per_slice else _ASYMMETRIC_LINEAR)
    elif operator.name == "CONV_2D":
        per_slice = quantization.axis is not None
        version = max(version, _PER_CHANNEL_CONV if per_slice else _HYBRID_CONV)
    if quantization.block_size and options.fusedActivationFunction:
        # The builtin kernel for blocks does not apply it; XNNPACK merges the two again.
        activation = _ACTIVATIONS[options.fusedActivationFunction]
        options.fusedActivationFunction = schema.ActivationFunctionType.NONE
    return Runnable(Operator(operator.name, options, version), inputs, activation)


def _restored(context: LoweringContext, tensor: int, weights: Parameter) -> int:
    """The float weights behind a DEQUANTIZE, which LiteRT computes once."""
    quantization = weights.type.quantization
    assert quantization is not None
    shape = weights.array.shape
    name = f"{context.model.name_of(tensor)}/float32"
    if not quantization.block_size:
        version = 5 if quantization.axis is not None else 2
        version = 6 if weights.type.dtype == "int4" else version
        return context.constant_step(_dequantize(version), tensor, shape, name)
    # DEQUANTIZE takes blocks for the whole and gives wrong numbers; as slices they are right.
    rows = weights.array.reshape(-1, quantization.block_size)
    sliced = TensorType(
        weights.type.dtype, Quantization(quantization.scales, quantization.zero_points, 0)
    )
    stored = context.operand(Parameter(rows, sliced), context.model.name_of(tensor))
    floats = context.constant_step(_dequantize(6), stored, rows.shape, name)
    return context.reshape(floats, shape, FLOAT32, name)


def _dequantize(version: int) -> Operator:
    return Operator("DEQUANTIZE", schema.DequantizeOptionsT(), version)
