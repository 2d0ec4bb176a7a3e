"""Moving activations to uint8 changes no value."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.targets.onnxruntime.uint8_activations import shift_activations
from tests.targets.tflite.lowering.single_op import build, random_inputs, run_onnxruntime
from tests.targets.tflite.lowering.test_quantized import Quantized, qdq

NETWORK = Quantized(
    "network",
    "c = Conv(x, w, b)\nci = QuantizeLinear(c, out_scale, out_zero)\n"
    "cd = DequantizeLinear(ci, out_scale, out_zero)\n"
    "k = DequantizeLinear(k_int, out_scale, out_zero)\nv = Add(cd, k)",
    {"x": (1, 4, 6, 6)},
    ((6, 4, 3, 3), 0, 6),
    {"k_int": np.arange(-3, 3, dtype=np.int8).reshape(6, 1, 1)},
)


def zero_point_types(model: onnx.ModelProto) -> dict[str, int]:
    types = {item.name: item.data_type for item in model.graph.initializer}
    return {
        node.output[0]: types[node.input[2]]
        for node in model.graph.node
        if node.op_type in {"QuantizeLinear", "DequantizeLinear"}
    }


def test_activations_and_operands_move_and_weights_stay() -> None:
    case = qdq(NETWORK)
    before = build(case)
    model = ir.from_proto(before)
    notes = shift_activations(model)
    after = ir.to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    types = zero_point_types(after)
    int8, int32 = onnx.TensorProto.INT8, onnx.TensorProto.INT32
    assert {name for name, kind in types.items() if kind == int8} == {"w"}
    assert {name for name, kind in types.items() if kind == int32} == {"b"}
    assert notes == ("7 Q/DQ nodes of activations moved from int8 to uint8, values unchanged",)
    feeds = random_inputs(case)
    expected = run_onnxruntime(before, feeds)["y"]
    assert np.array_equal(run_onnxruntime(after, feeds)["y"], expected)


def test_no_initializer_is_left_unused() -> None:
    model = ir.from_proto(build(qdq(NETWORK)))
    shift_activations(model)
    assert all(value.uses() for value in model.graph.initializers.values())
