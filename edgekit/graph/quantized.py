"""Whether a graph is quantized."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.core.target import QUANTIZED
from edgekit.errors import ConfigError


def is_quantized(model: ir.Model) -> bool:
    """Whether a graph holds a QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph)


def require_qdq(model: ir.Model, precision: str) -> None:
    """Refuses to call an artifact quantized whose graph holds no integers.

    Raises:
        ConfigError: If ``precision`` is one of `QUANTIZED` and the graph is float.
    """
    if precision in QUANTIZED and not is_quantized(model):
        raise ConfigError(
            f"An {precision} artifact is lowered from a QDQ graph, but this graph is float. "
            f"Quantize it first: edgekit convert --precision {precision} --calibrate SET does "
            "both."
        )
