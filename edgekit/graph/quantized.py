"""Whether a graph is quantized."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.errors import ConfigError


def is_quantized(model: ir.Model) -> bool:
    """Whether a graph holds a QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph)


def require_qdq(model: ir.Model, precision: str) -> None:
    """Refuses to call an artifact int8 whose graph holds no integers.

    Raises:
        ConfigError: If ``precision`` is int8 and the graph is float.
    """
    if precision == "int8" and not is_quantized(model):
        raise ConfigError(
            "An int8 artifact is lowered from a QDQ graph, but this graph is float. Quantize it "
            "first: edgekit convert --precision int8 --calibrate SET does both."
        )
