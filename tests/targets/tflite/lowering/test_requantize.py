"""Integers of one type as those of another, without a float tensor in between."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from tests.targets.tflite.lowering.single_op import (
    Case,
    build,
    operator_counts,
    run_litert,
    run_onnxruntime,
    scalar,
)

type Kind = tuple[str, float, int]
"""Type, scale and zero point."""

ALL = 256


def converted(*kinds: Kind) -> Case:
    """``x`` through Q/DQ pairs of the kinds, one after the other."""
    lines, constants, value = [], {}, "x"
    for index, (dtype, scale, zero_point) in enumerate(kinds):
        constants[f"s{index}"] = scalar(scale)
        constants[f"z{index}"] = np.array(zero_point, dtype)
        made = "y" if index == len(kinds) - 1 else f"d{index}"
        lines.append(f"q{index} = QuantizeLinear({value}, s{index}, z{index})")
        lines.append(f"{made} = DequantizeLinear(q{index}, s{index}, z{index})")
        value = made
    return Case("converted", "\n".join(lines), {"x": (1, ALL)}, constants, opset=21)


@pytest.mark.parametrize(
    ("kinds", "ops"),
    [
        ((("int8", 0.02, -7), ("int16", 2.7 / 32767, 0)), {"CAST": 1, "ADD": 1}),
        ((("int8", 0.02, -128), ("int16", 5.1 / 32767, 0)), {"CAST": 1, "ADD": 1}),
        ((("int8", 0.02, 5), ("int16", 0.02 / 128, 0)), {"CAST": 1, "ADD": 1}),
        ((("int8", 0.02, 0), ("int16", 1.9 / 32767, 0)), {"CAST": 1, "QUANTIZE": 1}),
        ((("int8", 0.02, 0), ("int16", 0.02, 0)), {"CAST": 1}),
        ((("int16", 2.5 / 32767, 0), ("int8", 0.02, -7)), {"QUANTIZE": 1}),
        ((("int16", 2.5 / 32767, 0), ("int16", 2 / 32767, 0)), {"QUANTIZE": 1}),
        ((("int16", 2.5 / 32767, 0),), {}),
        (
            (("int8", 0.02, 3), ("int16", 2.6 / 32767, 0), ("int8", 0.011, 100)),
            {"CAST": 1, "ADD": 1, "QUANTIZE": 1},
        ),
    ],
)
def test_conversions_stay_integers(kinds: tuple[Kind, ...], ops: dict[str, int]) -> None:
    case = converted(*kinds)
    model = build(case)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    # Every int8 integer, beyond the range of the narrower types, and no halves.
    feeds = {"x": np.linspace(-2.717, 2.683, ALL, dtype=np.float32)[None]}
    expected = run_onnxruntime(model, feeds)["y"]
    actual = run_litert(lowered.data, lowered.signature, feeds, delegate=True)["y"]
    assert np.abs(np.rint((actual - expected) / kinds[-1][1])).max() <= 1
    counts = operator_counts(lowered.data)
    counts.subtract({"QUANTIZE": 1, "DEQUANTIZE": 1})
    assert {name: count for name, count in counts.items() if count} == ops
    subgraph = schema.ModelT.InitFromPackedBuf(lowered.data, 0).subgraphs[0]
    floats = [t for t in subgraph.tensors if t.type == schema.TensorType.FLOAT32]
    assert len(floats) == 2
