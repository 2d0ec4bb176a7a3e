"""Versions and options of operators follow the types they compute on."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from edgekit.targets.tflite.lowering.operator_versions import operator_version
from edgekit.targets.tflite.lowering.quantization import Quantization, TensorType
from tests.targets.tflite.lowering.single_op import Case, build
from tests.targets.tflite.lowering.test_int16 import wide
from tests.targets.tflite.lowering.test_quantized import Quantized, qdq

FLOAT, INT8, INT16 = (
    TensorType("float32"),
    TensorType("int8", Quantization((0.5,), (0,))),
    TensorType("int16", Quantization((0.5,), (0,))),
)


@pytest.mark.parametrize(
    ("name", "inputs", "output", "version"),
    [
        ("ADD", [FLOAT, FLOAT], FLOAT, 1),
        ("ADD", [INT8, INT8], INT8, 2),
        ("ADD", [INT16, INT16], INT16, 3),
        ("SUB", [INT16, INT16], INT16, 5),
        ("MUL", [INT8, INT8], INT8, 2),
        ("MUL", [INT8, INT8], TensorType("int8", Quantization((0.25,), (0,))), 3),
        ("MUL", [INT16, INT16], INT16, 4),
        ("CONV_2D", [INT8, INT8, TensorType("int32")], INT8, 3),
        ("CONV_2D", [INT16, INT8, TensorType("int64")], INT16, 4),
        ("CONV_2D", [INT16, INT8, TensorType("int32")], INT16, 8),
        ("FULLY_CONNECTED", [INT16, INT8, None], INT16, 7),
        ("TRANSPOSE_CONV", [TensorType("int32"), INT8, INT8, TensorType("int32")], INT8, 2),
        ("SPLIT", [TensorType("int32"), INT16], INT16, 4),
        ("QUANTIZE", [FLOAT], INT8, 1),
        ("QUANTIZE", [FLOAT], INT16, 2),
        ("DEQUANTIZE", [INT16], FLOAT, 3),
        ("CAST", [INT8], TensorType("int16"), 3),
        ("MAXIMUM", [INT16, INT16], INT16, 4),
    ],
)
def test_versions(
    name: str, inputs: list[TensorType | None], output: TensorType, version: int
) -> None:
    assert operator_version(name, 1, inputs, [output]) == version


def test_what_an_operator_needs_otherwise_is_kept() -> None:
    assert operator_version("RESIZE_BILINEAR", 3, [INT8], [INT8]) == 3
    assert operator_version("RESIZE_BILINEAR", 3, [INT16], [INT16]) == 4


@pytest.mark.parametrize(
    ("case", "pot_scale", "version"),
    [
        (qdq(wide("add", "v = Add(x, z)", {"x": (1, 4), "z": (1, 4)})), False, 3),
        (qdq(Quantized("add", "v = Add(x, z)", {"x": (1, 4), "z": (1, 4)})), True, 2),
    ],
    ids=["int16", "int8"],
)
def test_an_addition_of_16_bits_takes_any_scale(case: Case, pot_scale: bool, version: int) -> None:
    lowered = lower_graph(ir.from_proto(build(case)), LoweringOptions())
    model = schema.ModelT.InitFromPackedBuf(lowered.data, 0)
    (addition,) = (
        operator
        for operator in model.subgraphs[0].operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.ADD
    )
    assert addition.builtinOptions.potScaleInt16 is pot_scale
    assert model.operatorCodes[addition.opcodeIndex].version == version
