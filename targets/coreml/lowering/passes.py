"""Which of coremltools' passes run on a program."""

from __future__ import annotations

from typing import Any

from edgekit.targets.coreml.toolchain import coremltools as ct

UNSAFE_PASSES = (
    # Merges dequantize -> reshape -> quantize without comparing the two scales.
    "common::int_op_canonicalization",
    # Move zero points and scales to other values than the QDQ graph has.
    "common::nullify_redundant_quantization_zero_point",
    "common::dequantize_quantize_pair_elimination",
    "common::distributive_quantized_binary_op_scale_normalization",
    "common::dequantize_to_constexpr",
    # Makes a product and a sum a batch_norm of variance 1, whose epsilon of 1e-5 it forgets: the
    # result is 5e-6 of itself too small.
    "common::fuse_elementwise_to_batchnorm",
)
"""Passes of coremltools 9.0 that change what a program computes, or its quantization."""


def pass_pipeline() -> Any:
    """Coremltools' default passes without `UNSAFE_PASSES`."""
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.remove_passes(set(UNSAFE_PASSES))
    return pipeline
