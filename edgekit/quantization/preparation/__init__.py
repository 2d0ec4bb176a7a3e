"""Rewrites that keep what a graph computes and let more of it be quantized."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.quantization.preparation.divide_as_multiply import DivideAsMultiply
from edgekit.quantization.preparation.plain_gemm import PlainGemm

PASSES = (PlainGemm, DivideAsMultiply)


def prepare(model: ir.Model) -> ir.Model:
    """A copy of ``model`` after all rewrites of this package."""
    working = ir.from_proto(ir.to_proto(model))
    for pass_type in PASSES:
        pass_type()(working)
    return working
