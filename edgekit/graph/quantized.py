"""Whether a graph is quantized, and why not all of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from pydantic import TypeAdapter, ValidationError

from edgekit.core.hashing import canonical_json
from edgekit.core.target import INTEGER_ACTIVATIONS, QUANTIZED, WEIGHTS_ONLY
from edgekit.errors import ConfigError, InputError
from edgekit.graph.values import constant_array, input_at, is_op

NO_WEIGHTS = "The graph has no weights to quantize, so the artifact is float32 under this name."
"""Note on an artifact of integer weights whose graph has none."""

REASONS_KEY = "edgekit.float_reasons"
"""Entry of a QDQ graph's metadata: a JSON object with the reason for each node in float."""

_SHOWN = 3
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def is_quantized(model: ir.Model) -> bool:
    """Whether a graph holds a QuantizeLinear or DequantizeLinear."""
    return any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph)


def has_weights(model: ir.Model) -> bool:
    """Whether a graph has a layer with a constant float32 kernel or matrix."""
    arrays = [constant_array(input_at(node, 1)) for node in model.graph if is_op(node, *_LAYERS)]
    return any(
        array is not None and array.dtype == np.float32 and array.ndim > 1 for array in arrays
    )


def require_qdq(model: ir.Model, precision: str) -> None:
    """Refuses to call an artifact quantized whose graph holds no integers.

    A graph without weights may be called so, as far as weights alone are to be quantized.

    Raises:
        ConfigError: If ``precision`` is one of `QUANTIZED` and the graph is float.
    """
    if precision not in QUANTIZED or is_quantized(model):
        return
    if precision in WEIGHTS_ONLY and not has_weights(model):
        return
    data = " --calibrate SET" if precision in INTEGER_ACTIVATIONS else ""
    reasons = read_float_reasons(model)
    if reasons:
        listed = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:_SHOWN])
        raise ConfigError(
            f"Nothing of this graph was quantized, so there is no {precision} artifact of it: "
            f"{listed}. Choose float16 or float32."
        )
    raise ConfigError(
        f"An {precision} artifact is lowered from a QDQ graph, but this graph is float. "
        f"Quantize it first: edgekit convert --precision {precision}{data} does both, and names "
        "the layers that it leaves in float."
    )


def write_float_reasons(model: ir.Model, reasons: Mapping[str, str]) -> None:
    """Writes into a QDQ graph why nodes of it compute in float; ``model`` is modified.

    Args:
        model: The QDQ graph.
        reasons: By the node's name.
    """
    model.metadata_props[REASONS_KEY] = canonical_json(dict(reasons))


def read_float_reasons(model: ir.Model) -> dict[str, str]:
    """Why nodes compute in float, by name; empty where the graph does not say.

    Raises:
        InputError: If the entry is there but damaged.
    """
    try:
        return TypeAdapter(dict[str, str]).validate_json(
            model.metadata_props.get(REASONS_KEY, "{}")
        )
    except ValidationError as error:
        raise InputError(
            f"The graph's metadata {REASONS_KEY!r} is damaged: {error.errors()[0]['msg']}. "
            "Quantize the model again."
        ) from error
