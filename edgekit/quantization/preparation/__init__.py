"""Rewrites that keep what a graph computes and let more of it be quantized."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.unroll_recurrent import UnrollRecurrent
from edgekit.quantization.preparation.divide_as_multiply import DivideAsMultiply
from edgekit.quantization.preparation.plain_gemm import PlainGemm

PASSES = (UnrollRecurrent, PlainGemm, DivideAsMultiply)


def prepare(model: ir.Model) -> ir.Model:
    """A copy of ``model`` after all rewrites of this package."""
    working = ir.from_proto(ir.to_proto(model))
    modified = False
    for pass_type in PASSES:
        modified |= pass_type()(working).modified
    if modified:
        # Placement looks at the types of values and the shapes of constants.
        InferShapes()(working)
    return working
