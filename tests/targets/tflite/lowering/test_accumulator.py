"""Layers on 16-bit activations sum in int32 exactly where no input can overflow it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from tests.targets.tflite.lowering.single_op import (
    Array,
    Case,
    build,
    run_litert,
    run_onnxruntime,
)
from tests.targets.tflite.lowering.test_int16 import wide
from tests.targets.tflite.lowering.test_quantized import qdq

LIMIT = (2**31 - 1) // (127 * 2**15)
"""Weights of 127 that int32 can sum."""


def with_weights(body: str, shape: tuple[int, ...], axis: int, inputs: tuple[int, ...]) -> Case:
    """A layer of full weights whose result just fits."""
    span = 127 * np.prod(shape) / shape[axis] * 0.01 * 3.1
    case = qdq(wide("full", body, {"x": inputs}, float(span), weights=(shape, axis, shape[axis])))
    scales = np.full(shape[axis], 0.01, np.float32)
    constants: dict[str, Array] = {
        "w_int": np.full(shape, 127, np.int8),
        "w_scale": scales,
        "b_int": np.full(shape[axis], 30_000, np.int32),
        "b_scale": scales * np.float32(3 / 32767),
    }
    return replace(case, constants={**case.constants, **constants})


def bias_type(data: bytes) -> tuple[int | None, int, int]:
    """Type of the bias (None without one), the declared one, and the operator's version."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    graph = model.subgraphs[0]
    names = {value: name for name, value in vars(schema.BuiltinOperator).items()}
    layers = {"CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3, "DEPTHWISE_CONV_2D": 2}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        place = layers.get(names[code.builtinCode])
        if place is not None:
            index = operator.inputs[place] if place < len(operator.inputs) else -1
            stored = None if index < 0 else int(graph.tensors[index].type)
            declared = getattr(operator.builtinOptions, "quantizedBiasType", 0)
            return stored, int(declared), int(code.version)
    raise AssertionError("no layer")


INT32, INT64 = schema.TensorType.INT32, schema.TensorType.INT64


@pytest.mark.parametrize(
    ("body", "shape", "axis", "inputs", "found"),
    [
        ("v = Gemm <transB = 1> (x, w, b)", (2, LIMIT), 0, (1, LIMIT), (INT32, INT32, 11)),
        ("v = Gemm <transB = 1> (x, w, b)", (2, LIMIT + 1), 0, (1, LIMIT + 1), (INT64, 0, 7)),
        ("v = Gemm <transB = 1> (x, w)", (2, LIMIT), 0, (1, LIMIT), (None, 0, 7)),
        ("v = Gemm <transB = 1> (x, w)", (2, LIMIT + 1), 0, (1, LIMIT + 1), (INT64, 0, 7)),
        ("v = Conv(x, w, b)", (2, 57, 3, 3), 0, (1, 57, 4, 4), (INT32, INT32, 8)),
        ("v = Conv(x, w, b)", (2, 58, 3, 3), 0, (1, 58, 4, 4), (INT64, 0, 4)),
        (
            "v = ConvTranspose <strides = [2, 2]> (x, w, b)",
            (130, 1, 2, 2), 1, (1, 130, 3, 3), (INT64, 0, 3),
        ),
        (
            "v = ConvTranspose <strides = [2, 2]> (x, w, b)",
            (128, 1, 2, 2), 1, (1, 128, 3, 3), (INT32, INT32, 5),
        ),
        ("v = Conv <group = 4> (x, w, b)", (4, 1, 3, 3), 0, (1, 4, 5, 5), (INT64, 0, 5)),
    ],
)  # fmt: skip
def test_the_largest_sum_decides(
    body: str,
    shape: tuple[int, ...],
    axis: int,
    inputs: tuple[int, ...],
    found: tuple[int | None, int, int],
) -> None:
    case = with_weights(body, shape, axis, inputs)
    model = build(case)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert bias_type(lowered.data) == found
    feeds = {"x_raw": np.full(inputs, 3.0, np.float32)}
    expected = run_onnxruntime(model, feeds)["y"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    step = float(np.asarray(case.constants["out_scale"]))
    assert np.abs(np.rint((actual - expected) / step)).max() <= 1


def test_inputs_that_are_never_negative_halve_the_largest_sum() -> None:
    size = LIMIT + 40
    case = with_weights(
        "p = Relu(x)\npi = QuantizeLinear(p, in_scale, in_zero)\n"
        "pd = DequantizeLinear(pi, in_scale, in_zero)\nv = Gemm <transB = 1> (pd, w, b)",
        (2, size), 0, (1, size),
    )  # fmt: skip
    weights = np.full((2, size), 127, np.int8)
    weights[:, ::2] = -127
    case = replace(case, constants={**case.constants, "w_int": weights})
    lowered = lower_graph(ir.from_proto(build(case)), LoweringOptions())
    assert bias_type(lowered.data)[0] == INT32
