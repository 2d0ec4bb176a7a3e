"""What is rewritten in a copy of the canonical graph before it is lowered.

These forms suit TFLite but not every target, so the canonical graph does not have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.graph.passes.expand_vector_factors import ExpandVectorFactors
from edgekit.graph.passes.fuse_group_norm import FuseGroupNorm
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.split_reduce_norms import SplitReduceNorms
from edgekit.graph.passes.unroll_recurrent import UnrollRecurrent

PREPARATION: tuple[type[GraphPass], ...] = (
    UnrollRecurrent,
    # Groups of channels are cut off in any storage order, which the reshapes are not.
    FuseGroupNorm,
    SplitReduceNorms,
    ExpandVectorFactors,
)
"""In this order."""


@dataclass(frozen=True, slots=True)
class PreparedGraph:
    """A graph in the form that is lowered.

    Attributes:
        model: A copy.
        reasons: Why a node was left as it is, by its name.
    """

    model: ir.Model
    reasons: Mapping[str, str]


def prepare(model: ir.Model) -> PreparedGraph:
    """Applies `PREPARATION` to a copy; ``model`` is not modified."""
    copy = model.clone()
    reasons: dict[str, str] = {}
    modified = False
    for pass_type in PREPARATION:
        graph_pass = pass_type()
        modified |= graph_pass(copy).modified
        reasons.update({note.where: note.text for note in graph_pass.notes})
    if modified:
        InferShapes()(copy)
    return PreparedGraph(copy, reasons)
