"""What an operator's version and options have to say about the types it computes on.

A runtime refuses an operator whose version it does not know, so a file states the lowest version
that has what it needs: TFLite's table, ``tflite/tools/versioning/op_version.cc``.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.quantization import TensorType

_FIRST = 1
_DATA_INPUT = {"SPLIT": 1, "TRANSPOSE_CONV": 2}
"""Place of the data among the inputs, where it is not the first."""

_INT8 = {
    "CAST": 3, "BROADCAST_TO": 3, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4,
    "TILE": 3,
} | dict.fromkeys(
    [
        "ABS", "ADD", "ARG_MAX", "ARG_MIN", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION",
        "DEPTH_TO_SPACE", "DEQUANTIZE", "EXP", "GATHER", "GELU", "LOG", "LOGISTIC",
        "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MIRROR_PAD", "MUL", "PAD",
        "PADV2", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "RELU", "RELU6", "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR", "RSQRT", "SLICE", "SOFTMAX", "SPACE_TO_DEPTH", "SPLIT",
        "SPLIT_V", "SQUARED_DIFFERENCE", "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE",
        "TRANSPOSE_CONV",
    ],
    2,
)  # fmt: skip
_INT16 = {
    "BROADCAST_TO": 3, "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "EXP": 2, "FULLY_CONNECTED": 7,
    "GATHER": 4, "LEAKY_RELU": 2, "LOG": 2, "MAXIMUM": 4, "MINIMUM": 4, "MUL": 4,
    "RESIZE_BILINEAR": 4, "RESIZE_NEAREST_NEIGHBOR": 4, "SLICE": 4, "SPLIT": 4, "SUB": 5,
    "TRANSPOSE": 5,
} | dict.fromkeys(
    [
        "ABS", "ADD", "AVERAGE_POOL_2D", "BATCH_MATMUL", "CONCATENATION", "DEQUANTIZE",
        "LOGISTIC", "MAX_POOL_2D", "MEAN", "MIRROR_PAD", "PAD", "PADV2", "REDUCE_MAX",
        "REDUCE_MIN", "RELU", "RELU6", "RSQRT", "SOFTMAX", "TANH",
    ],
    3,
)  # fmt: skip
_INT32_BIAS = {"CONV_2D": 8, "FULLY_CONNECTED": 11, "TRANSPOSE_CONV": 5}
"""First version whose options name the type of bias and accumulator of 16-bit activations."""
_UPSCALING_MUL = 3
_INT16_QUANTIZE = 2


def operator_version(
    name: str, stated: int, inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]
) -> int:
    """The lowest version with what the operator needs.

    Args:
        name: Builtin name.
        stated: What it needs whatever the types are.
        inputs: Types of the inputs; None for an omitted one.
        outputs: Types of the outputs.
    """
    place = _DATA_INPUT.get(name, 0)
    data = inputs[place] if place < len(inputs) else None
    versions = [stated]
    if name == "QUANTIZE" and outputs[0].dtype == "int16":
        versions.append(_INT16_QUANTIZE)
    if data is not None and data.dtype in {"int8", "int16"}:
        table = _INT8 if data.dtype == "int8" else _INT16
        versions.append(table.get(name, _FIRST))
    if name == "MUL" and _scales_up(inputs, outputs):
        versions.append(_UPSCALING_MUL)
    if has_int32_accumulator(name, inputs):
        versions.append(_INT32_BIAS[name])
    return max(versions)


def has_int32_accumulator(name: str, inputs: Sequence[TensorType | None]) -> bool:
    """Whether a kernel on 16-bit activations has an int32 bias, and so sums in int32."""
    data, bias = _data_and_bias(name, inputs)
    return (
        name in _INT32_BIAS
        and data is not None
        and data.dtype == "int16"
        and bias is not None
        and bias.dtype == "int32"
    )


def typed_options(name: str, options: Any, inputs: Sequence[TensorType | None]) -> Any:
    """Options with the fields that depend on the types of the inputs; the argument stays.

    - ``potScaleInt16`` of ADD and SUB is true by default: only powers of two as 16-bit scales.
    - Without ``quantizedBiasType`` a kernel on 16-bit activations reads an int32 bias as int64.
    """
    data, _ = _data_and_bias(name, inputs)
    if data is None or data.dtype != "int16":
        return options
    if name in {"ADD", "SUB"}:
        options = copy.copy(options)
        options.potScaleInt16 = False
    elif has_int32_accumulator(name, inputs):
        options = copy.copy(options)
        options.quantizedBiasType = schema.TensorType.INT32
    return options


def _data_and_bias(
    name: str, inputs: Sequence[TensorType | None]
) -> tuple[TensorType | None, TensorType | None]:
    place = _DATA_INPUT.get(name, 0)
    bias = 3 if name == "TRANSPOSE_CONV" else 2
    return (
        inputs[place] if place < len(inputs) else None,
        inputs[bias] if bias < len(inputs) else None,
    )


def _scales_up(inputs: Sequence[TensorType | None], outputs: Sequence[TensorType]) -> bool:
    found = [item.quantization for item in (*inputs, *outputs) if item is not None]
    first, second, made = (item.scales[0] if item is not None else 0.0 for item in found)
    return made > 0 and first * second / made >= 1.0
