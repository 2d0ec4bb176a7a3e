"""Every lowered operator, executed in LiteRT and compared with ONNX Runtime."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgekit.targets.tflite.delegation import delegation_of
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from edgekit.targets.tflite.lowering.registry import LOWERINGS
from tests.targets.tflite.lowering.dense_cases import ELEMENTWISE, LINEAR, REDUCTIONS, SHAPES
from tests.targets.tflite.lowering.normalization_cases import NORMALIZATIONS
from tests.targets.tflite.lowering.product_cases import PRODUCTS
from tests.targets.tflite.lowering.recurrent_cases import RECURRENT
from tests.targets.tflite.lowering.single_op import Case, build, check, operator_counts
from tests.targets.tflite.lowering.spatial_cases import CONVOLUTIONS, LINES, POOLS, RESIZES

CASES = [
    *CONVOLUTIONS,
    *POOLS,
    *LINES,
    *LINEAR,
    *PRODUCTS,
    *NORMALIZATIONS,
    *RECURRENT,
    *SHAPES,
    *ELEMENTWISE,
    *REDUCTIONS,
    *RESIZES,
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_litert_agrees_with_onnxruntime(case: Case) -> None:
    check(case)


def test_every_registered_operator_has_a_case() -> None:
    tested = {node.op_type for case in CASES for node in build(case).graph.node}
    tested |= {"QuantizeLinear", "DequantizeLinear"}  # test_quantized.py
    tested |= {"GroupNormalization"}  # made of the reshaped InstanceNormalization
    assert set(LOWERINGS) <= tested


@pytest.mark.parametrize("case", [*PRODUCTS, *NORMALIZATIONS, *RECURRENT], ids=str)
def test_xnnpack_runs_every_operator(case: Case) -> None:
    lowered = lower_graph(ir.from_proto(build(case)), LoweringOptions())
    interpreter = Interpreter(model_content=lowered.data)
    interpreter.allocate_tensors()
    found = delegation_of(interpreter._get_ops_details())
    assert found.delegated == operator_counts(lowered.data).total()
    assert found.partitions == 1
