"""A float graph is never lowered under the name int8."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from edgekit.errors import ConfigError
from edgekit.graph.quantized import has_weights, is_quantized, require_qdq

FLOAT = ir.from_onnx_text(
    '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
)
QDQ = ir.from_onnx_text(
    '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x, float s, int8 z) => (float[2] y) '
    "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }"
)


def test_only_int8_needs_a_qdq_graph() -> None:
    assert (is_quantized(FLOAT), is_quantized(QDQ)) == (False, True)
    require_qdq(FLOAT, "float32")
    require_qdq(QDQ, "int8")
    with pytest.raises(ConfigError, match=r"this graph is float\. Quantize it first"):
        require_qdq(FLOAT, "int8")


PRODUCT = ir.from_onnx_text(
    '<ir_version: 10, opset_import: ["" : 20]> g (float[2, 2] x) => (float[2, 2] y) '
    "<float[2, 2] w = {1, 2, 3, 4}> { y = MatMul(x, w) }"
)


def test_integer_weights_need_a_qdq_graph_where_there_are_weights() -> None:
    assert (has_weights(FLOAT), has_weights(PRODUCT)) == (False, True)
    require_qdq(FLOAT, "int8-weights")
    with pytest.raises(ConfigError, match=r"--precision int4-weights does both, and names the"):
        require_qdq(PRODUCT, "int4-weights")
