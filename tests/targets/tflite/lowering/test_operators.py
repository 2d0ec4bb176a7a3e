"""Every lowered operator, executed in LiteRT and compared with ONNX Runtime."""

from __future__ import annotations

import pytest

from edgekit.targets.tflite.lowering.registry import LOWERINGS
from tests.targets.tflite.lowering.dense_cases import ELEMENTWISE, LINEAR, REDUCTIONS, SHAPES
from tests.targets.tflite.lowering.product_cases import PRODUCTS
from tests.targets.tflite.lowering.single_op import Case, build, check
from tests.targets.tflite.lowering.spatial_cases import CONVOLUTIONS, LINES, POOLS, RESIZES

CASES = [
    *CONVOLUTIONS,
    *POOLS,
    *LINES,
    *LINEAR,
    *PRODUCTS,
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
    assert set(LOWERINGS) <= tested
