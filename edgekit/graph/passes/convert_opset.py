"""Conversion to the one opset that the rest of edgekit knows."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgekit.errors import UnsupportedError
from edgekit.graph.passes.graph_pass import GraphPass

CANONICAL_OPSET = 20
"""The first opset with Gelu as one op; later ones change nothing that edgekit needs."""
CANONICAL_IR_VERSION = 10
OLDEST_OPSET = 7
"""ONNX Runtime guarantees opset 7 and later, so older graphs could not be verified."""


class ConvertOpset(GraphPass):
    """Converts the standard domain to `CANONICAL_OPSET` with ONNX's version converter.

    1. Opset 7 to 19 is upgraded; a later opset is downgraded where ONNX knows how.
    2. The canonical opset is left as it is.
    3. An opset below 7, or an op that the converter cannot adapt, is an `UnsupportedError`.

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
        proto = ir.to_proto(model)
        try:
            converted = onnx.version_converter.convert_version(proto, CANONICAL_OPSET)
        except Exception as error:
            # The converter raises RuntimeError and its own ConvertError without a base.
            reason = " ".join(str(error).split())
            raise UnsupportedError(
                f"ONNX cannot convert the model from opset {version} to {CANONICAL_OPSET}: "
                f"{reason}. Export it with opset {CANONICAL_OPSET}"
            ) from error
        _replace_graph(model, converted)
        return True


def _replace_graph(model: ir.Model, proto: onnx.ModelProto) -> None:
    """Moves the graph of ``proto`` into ``model``, which keeps its other properties."""
    converted = ir.from_proto(proto)
    model.graph = converted.graph
    model.ir_version = CANONICAL_IR_VERSION
