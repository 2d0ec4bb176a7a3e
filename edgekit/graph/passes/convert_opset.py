"""Conversion to the one opset that the rest of edgekit knows."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import UnsupportedError
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.later_norms import split_later_norms
from edgekit.graph.values import constant_array, float_attribute, input_at, is_op, replace_node

CANONICAL_OPSET = 20
"""The first opset with Gelu as one op; later ones change nothing that edgekit needs."""
CANONICAL_IR_VERSION = 10
OLDEST_OPSET = 7
"""ONNX Runtime guarantees opset 7 and later, so older graphs could not be verified."""
_RESIZE_WITH_MODES = 11
"""First opset in which Resize says how it maps pixels."""
_SWISH = 24
"""First opset with Swish."""


class ConvertOpset(GraphPass):
    """Converts the standard domain to `CANONICAL_OPSET` with ONNX's version converter.

    1. Opset 7 to 19 is upgraded; a later opset is downgraded where ONNX knows how.
    2. Upsample and Resize before opset 11 get the pixel mapping that they had implicitly:
       ONNX's converter leaves them the default of later opsets, which is another one.
    3. Swish of opset 24 becomes ``x * Sigmoid(alpha * x)``.
    4. RMSNormalization of opset 23 and GroupNormalization of opset 21 are written in older ops.
    5. The canonical opset is left as it is.
    6. An opset below 7, or an op that the converter cannot adapt, is an `UnsupportedError`.

    The converter of the onnx package is used, since onnxscript's adapts only opset 18 and
    later and leaves older nodes as they are under a new version number.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        version = model.opset_imports.get("", 0)
        if version == CANONICAL_OPSET:
            return False
        if version < OLDEST_OPSET:
            raise UnsupportedError(
                f"The model uses opset {version}; edgekit reads opset {OLDEST_OPSET} and later. "
                "Export it again with a newer exporter"
            )
        if version >= _SWISH:
            _split_swish(model.graph)
        if version > CANONICAL_OPSET:
            split_later_norms(model)
        try:
            converted = onnx.version_converter.convert_version(ir.to_proto(model), CANONICAL_OPSET)
        except Exception as error:
            # The converter raises RuntimeError and its own ConvertError without a base.
            raise UnsupportedError(
                f"ONNX cannot convert the model from opset {version} to {CANONICAL_OPSET}: "
                f"{_reason(error)}. Export it with opset {CANONICAL_OPSET}"
            ) from error
        model.graph = ir.from_proto(converted).graph
        model.ir_version = CANONICAL_IR_VERSION
        if version < _RESIZE_WITH_MODES:
            _state_pixel_mapping(model.graph)
        return True


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    missing = re.search(r"No Previous Version of (\w+) exists", text)
    if missing:
        return f"{missing[1]} does not exist in opset {CANONICAL_OPSET}"
    # Assertions of the C++ code start with the path of the machine that built it.
    return text.rpartition("failed: ")[2]


def _state_pixel_mapping(graph: ir.Graph) -> None:
    """Writes what Resize meant before it had attributes for it.

    ONNX Runtime's implementation of opset 10: output pixel i reads input i / scale, and
    ``nearest`` rounds that down when enlarging and up when shrinking.
    """
    for node in graph:
        if not is_op(node, "Resize"):
            continue
        scales = constant_array(input_at(node, 2))
        shrinks = scales is not None and bool((scales.astype(np.float64) < 1).any())
        node.attributes["coordinate_transformation_mode"] = ir.AttrString(
            "coordinate_transformation_mode", "asymmetric"
        )
        node.attributes["nearest_mode"] = ir.AttrString(
            "nearest_mode", "ceil" if shrinks else "floor"
        )


def _split_swish(graph: ir.Graph) -> None:
    for node in graph:
        if not is_op(node, "Swish"):
            continue
        value, alpha = node.inputs[0], float_attribute(node, "alpha", 1.0)
        gated = value
        if alpha != 1.0:
            factor = ir.node("Constant", [], {"value_float": alpha}, name=f"{node.name}_alpha")
            scale = ir.node("Mul", [value, factor.outputs[0]], name=f"{node.name}_scale")
            graph.insert_before(node, (factor, scale))
            gated = scale.outputs[0]
        sigmoid = ir.node("Sigmoid", [gated], name=f"{node.name}_sigmoid")
        graph.insert_before(node, sigmoid)
        replace_node(graph, node, "Mul", [value, sigmoid.outputs[0]])
