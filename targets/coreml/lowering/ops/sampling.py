"""GridSample and AffineGrid."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, text_attribute
from edgekit.targets.coreml.lowering.emitter import Emitter, rank_of
from edgekit.targets.coreml.lowering.registry import Var, lowers

_SAMPLING = {"bilinear": "bilinear", "linear": "bilinear", "nearest": "nearest"}
_PADDING = {"zeros": "constant", "border": "border", "reflection": "reflection"}


@lowers("GridSample", accepts="images, bilinear or nearest")
def lower_grid_sample(e: Emitter, node: ir.Node) -> Var:
    """Pixels at given places; MIL's resample takes places of -1 to 1 as ONNX does."""
    if rank_of(e.input(node, 0)) != 4:
        raise Refusal("GridSample of other than images", "rank 4")
    mode = text_attribute(node, "mode", "linear")
    if mode not in _SAMPLING:
        raise Refusal(f"GridSample in mode {mode!r}", "bilinear or nearest")
    aligned = bool(int_attribute(node, "align_corners", 0))
    padding = _PADDING[text_attribute(node, "padding_mode", "zeros")]
    return e(
        "resample",
        x=e.input(node, 0),
        coordinates=e.input(node, 1),
        sampling_mode=_SAMPLING[mode],
        padding_mode=padding,
        padding_value=np.float32(0),
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=aligned,
    )
