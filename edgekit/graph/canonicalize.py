"""The canonical form of a graph, reached by ordered lists of verified passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgekit.core.stage import Note
from edgekit.errors import EdgekitError, InputError, InternalError, UnsupportedError
from edgekit.graph.equivalence import TOLERANCE, EquivalenceCheck
from edgekit.graph.passes.convert_opset import CANONICAL_IR_VERSION, CANONICAL_OPSET, ConvertOpset
from edgekit.graph.passes.finish_names import FinishNames
from edgekit.graph.passes.fold_constants import FoldConstants
from edgekit.graph.passes.fold_scalar_factor import FoldScalarFactor
from edgekit.graph.passes.fuse_batch_norm import FuseBatchNorm
from edgekit.graph.passes.fuse_conv_affine import FuseConvAffine
from edgekit.graph.passes.fuse_gelu import FuseGelu
from edgekit.graph.passes.fuse_gemm import FuseGemm
from edgekit.graph.passes.fuse_hard_activations import FuseHardActivations
from edgekit.graph.passes.fuse_layer_norm import FuseLayerNorm
from edgekit.graph.passes.fuse_pad import FusePad
from edgekit.graph.passes.graph_pass import GraphPass
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.inline_constant_if import InlineConstantIf
from edgekit.graph.passes.inline_functions import InlineFunctions
from edgekit.graph.passes.lift_constants import LiftConstants
from edgekit.graph.passes.merge_equal_nodes import MergeEqualNodes
from edgekit.graph.passes.merge_layout_chains import MergeLayoutChains
from edgekit.graph.passes.merge_parallel_convs import MergeParallelConvs
from edgekit.graph.passes.merge_slices import MergeSlices
from edgekit.graph.passes.normalize_clip import NormalizeClip
from edgekit.graph.passes.normalize_pooling import NormalizePooling
from edgekit.graph.passes.refine_layout_chains import RefineLayoutChains
from edgekit.graph.passes.remove_dead import RemoveDead
from edgekit.graph.passes.remove_expands import RemoveExpands
from edgekit.graph.passes.remove_identities import RemoveIdentities
from edgekit.graph.passes.simplify_softmax import SimplifySoftmax
from edgekit.graph.passes.strip_metadata import StripMetadata
from edgekit.graph.signature import BATCH, dims_of

PREPARE: tuple[type[GraphPass], ...] = (
    # The conversion of opsets does not look into functions.
    InlineFunctions,
    # Everything below knows the ops of one opset only.
    ConvertOpset,
    StripMetadata,
    # Passes look for constants among the initializers.
    LiftConstants,
)
"""Passes that bring a graph of any origin into a form that the others know; run once."""

SIMPLIFY: tuple[type[GraphPass], ...] = (
    InferShapes,
    # Shape arithmetic collapses once shapes are known, and shows further shapes.
    FoldConstants,
    InferShapes,
    FoldConstants,
    # Conditions are constant now; the branch may hold constants of its own.
    InlineConstantIf,
    LiftConstants,
    # A Dropout or Identity between two nodes would hide them from the fusions.
    RemoveIdentities,
    RemoveExpands,
    RemoveDead,
    # A part that was written twice is read twice, which the fusions do not match.
    MergeEqualNodes,
    # Activations before affine folding: the "+ 3" of a HardSwish would vanish in a bias.
    NormalizeClip,
    FuseHardActivations,
    FuseGelu,
    FuseLayerNorm,
    # Gemm before affine folding, which then also reaches dense layers.
    FuseGemm,
    FuseBatchNorm,
    # After BatchNorm, which stands in every branch; before affine folding, which reaches
    # what follows the sum.
    MergeParallelConvs,
    # After BatchNorm, whose remaining form is Mul and Add.
    FuseConvAffine,
    # What is left of scalar factors: those of attention.
    FoldScalarFactor,
    NormalizePooling,
    SimplifySoftmax,
    # After the fusions above, whose patterns hold such nodes.
    FusePad,
    MergeSlices,
    RefineLayoutChains,
    MergeLayoutChains,
    RemoveDead,
)
"""Passes that are repeated in this order until none changes the graph: one may uncover what
another matches. SiLU stays as the pair ``x * Sigmoid(x)``: its single op, Swish, exists from
opset 24 only."""

FINISH: tuple[type[GraphPass], ...] = (FinishNames,)
"""Passes that change names and order only; run once."""

_MAX_ROUNDS = 10
"""Rounds of `SIMPLIFY`; two or three are usual, the last of which changes nothing."""


@dataclass(frozen=True, slots=True)
class CanonicalizeResult:
    """A canonical graph with the reasons for what was not rewritten.

    Attributes:
        model: New graph; the one given is not modified.
        notes: Reasons of the passes for what is left, each once.
    """

    model: ir.Model
    notes: tuple[Note, ...]


def canonicalize(model: ir.Model, *, verify: bool = True) -> CanonicalizeResult:
    """Brings a graph to the canonical form.

    Args:
        model: Not modified. Only the batch dim of its inputs may be symbolic.
        verify: Run ONNX Runtime after every pass that changed the graph and compare the
            outputs with those of ``model`` on seeded random inputs.

    Raises:
        InputError: If the graph contradicts itself.
        UnsupportedError: If ONNX Runtime cannot run it or its opset cannot be converted.
        InternalError: If a pass changed what the graph computes; the pass is named.
    """
    working = ir.from_proto(ir.to_proto(model))
    check = EquivalenceCheck(working) if verify else None
    _run_once(working, PREPARE, check)
    notes: list[Note] = []
    for _ in range(_MAX_ROUNDS):
        # Reasons of an earlier round may no longer hold.
        notes, modified = _run_once(working, SIMPLIFY, check)
        if not modified:
            break
    else:
        text = f"The passes still changed the graph after {_MAX_ROUNDS} rounds"
        notes.append(Note(level="warning", text=text))
    _run_once(working, FINISH, check)
    working.ir_version = CANONICAL_IR_VERSION
    notes += _open_shapes(working)
    if check is not None:
        notes.append(
            Note(
                text="Canonical graph equals the imported one on random inputs: largest "
                f"difference {check.worst:.1e} of the output range"
            )
        )
    return CanonicalizeResult(working, tuple(dict.fromkeys(notes)))


def _run_once(
    model: ir.Model, passes: Sequence[type[GraphPass]], check: EquivalenceCheck | None
) -> tuple[list[Note], bool]:
    """Runs passes in order; gives their reasons and whether one changed the graph."""
    notes: list[Note] = []
    any_modified = False
    for pass_type in passes:
        graph_pass = pass_type()
        modified = graph_pass(model).modified
        any_modified |= modified
        notes += graph_pass.notes
        if modified and check is not None:
            _verify(check, model, pass_type)
    return notes, any_modified


def _open_shapes(model: ir.Model) -> list[Note]:
    """A note on values whose shape depends on data: most targets refuse them."""
    found = [
        value.name or ""
        for node in model.graph
        for value in node.outputs
        if any(isinstance(dim, str) and dim != BATCH for dim in dims_of(value) or ("?",))
        and (value.uses() or value.is_graph_output())
    ]
    if not found:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    text = f"The shape of {found[0]!r}{more} is known only when the model runs"
    return [Note(level="warning", where=found[0], text=text)]


def _verify(check: EquivalenceCheck, model: ir.Model, pass_type: type[GraphPass]) -> None:
    try:
        wrong = [item for item in check.compare(model) if not item.relative <= TOLERANCE]
    except (InputError, UnsupportedError) as error:
        raise _blame(pass_type, f"left a graph that does not run: {error}") from error
    if wrong:
        raise _blame(
            pass_type,
            f"changed output {wrong[0].output!r} by {wrong[0].relative:.1e} of its range "
            f"(accepted: {TOLERANCE:.0e})",
        )


def _blame(pass_type: type[GraphPass], what: str) -> EdgekitError:
    """The error for a pass that broke the graph; converting opsets is ONNX's work."""
    if pass_type is ConvertOpset:
        return UnsupportedError(
            f"Converting the model to opset {CANONICAL_OPSET} {what}. An op means something else "
            f"in that opset; export the model with opset {CANONICAL_OPSET}"
        )
    return InternalError(f"Pass {pass_type.__name__} {what}. Please report it with the model")
