"""Lowerings by operator family; importing a module registers them."""

from __future__ import annotations

from edgekit.targets.coreml.lowering.ops import (  # noqa: F401
    activation,
    arithmetic,
    comparison,
    control_flow,
    conv,
    counting,
    elementwise,
    gathering,
    linear,
    movement,
    normalization,
    padding,
    pooling,
    quantization,
    recurrent,
    reduction,
    reshaping,
    resizing,
    sampling,
    scattering,
    slicing,
    sorting,
)
