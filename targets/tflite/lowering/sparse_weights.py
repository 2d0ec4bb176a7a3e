"""Filters that are stored without their zeros, for XNNPACK's sparse kernels.

XNNPACK computes float32 1x1 convolutions on sparse filters (Elsen and others, Fast Sparse
ConvNets, 2020) where the file says that filters are sparse: it looks for a tensor with a
sparsity behind a DENSIFY, which costs nothing at run time. It does so on arm64, arm and
WebAssembly; on x86 with AVX it computes them as dense ones, which is faster there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgekit.targets.tflite.lowering.flatbuffer import Operator
from edgekit.targets.tflite.lowering.quantization import FLOAT32, SPARSE_FLOAT32, Parameter

if TYPE_CHECKING:
    from edgekit.targets.tflite.lowering.context import LoweringContext

_LEAST_ZEROS = (2, 3)
"""From this share of zeros on XNNPACK takes its sparse kernels."""


def filter_tensor(context: LoweringContext, weights: Parameter, name: str, groups: int) -> int:
    """The filter of a CONV_2D, stored sparse where XNNPACK has a sparse kernel for it.

    Args:
        context: The lowering.
        weights: ``[Cout, kh, kw, Cin / groups]``.
        name: Of the weights.
        groups: Of the convolution.
    """
    if context.weights_dtype != "float32" or groups != 1 or not has_sparse_kernel(weights):
        return context.weight(weights, name)
    context.sparse += 1
    stored = context.operand(Parameter(weights.array, SPARSE_FLOAT32), f"{name}/sparse")
    operator = Operator("DENSIFY", schema.DensifyOptionsT())
    return context.constant_step(operator, stored, weights.array.shape, name)


def has_sparse_kernel(weights: Parameter) -> bool:
    """Whether a filter is float32, of 1x1, and so sparse that XNNPACK computes it so."""
    array = weights.array
    if weights.type != FLOAT32 or array.shape[1:3] != (1, 1):
        return False
    part, whole = _LEAST_ZEROS
    zeros = array.size - int(np.count_nonzero(array))
    return zeros < array.size and zeros * whole >= array.size * part


def sparse_notes(context: LoweringContext) -> tuple[str, ...]:
    """What was stored sparse, in one sentence."""
    if not context.sparse:
        return ()
    layers = "1 convolution" if context.sparse == 1 else f"{context.sparse} convolutions"
    text = (
        f"Stored without zeros (DENSIFY): the filters of {layers} of 1x1. XNNPACK computes on "
        "them as they are on arm64 and in browsers, and as dense ones on x86 with AVX."
    )
    return (text,)
