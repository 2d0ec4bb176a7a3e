"""LSTM, GRU and RNN: unrolled before the lowering, or refused."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.node_view import Refusal
from edgekit.graph.passes.unroll_recurrent import MAX_STEPS
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.registry import lowers


@lowers(
    "LSTM",
    "GRU",
    "RNN",
    accepts=f"constant weights, a fixed length of at most {MAX_STEPS} steps, plain activations, "
    "no peepholes, clip or sequence_lens",
)
def lower_recurrent(context: LoweringContext, node: ir.Node) -> None:
    """Refuses what `edgekit.graph.passes.unroll_recurrent` left, with its reason."""
    raise Refusal(context.reasons.get(node.name or "", "the layer was not unrolled"))
