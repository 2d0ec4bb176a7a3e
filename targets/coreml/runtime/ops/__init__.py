"""MIL operators by family; importing a module registers them."""

from __future__ import annotations

from edgekit.targets.coreml.runtime.ops import (  # noqa: F401
    activation,
    binary,
    control_flow,
    convolution,
    gather,
    image,
    image_resampling,
    linear,
    lists,
    normalization,
    pool,
    quantization,
    random,
    recurrent,
    reduction,
    scatter,
    shape,
    slicing,
    sorting,
    state,
    suppression,
    tensor,
    unary,
    weights,
)
