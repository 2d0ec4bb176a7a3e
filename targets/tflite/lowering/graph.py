"""Lowers a whole canonical ONNX graph to a TFLite flatbuffer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import onnx_ir as ir

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import IoType, SupportReport, WeightCompute
from edgekit.errors import UnsupportedGraphError, UnsupportedNode
from edgekit.graph.node_view import Refusal
from edgekit.graph.quantized import read_float_reasons
from edgekit.targets.tflite.lowering import ops  # noqa: F401 - registers the lowerings
from edgekit.targets.tflite.lowering.arithmetic import reason_in_float
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.flatbuffer import FlatbufferModel
from edgekit.targets.tflite.lowering.fusion import plan_bias_additions, plan_fused_activations
from edgekit.targets.tflite.lowering.input_layout import choose_input_axes, keeps_stored
from edgekit.targets.tflite.lowering.integer_normalization import pays_off
from edgekit.targets.tflite.lowering.interface import (
    integer_inputs,
    integer_outputs,
    stored_integers,
)
from edgekit.targets.tflite.lowering.layout import Axes, identity, stored_shape
from edgekit.targets.tflite.lowering.line_images import sees_images
from edgekit.targets.tflite.lowering.preparation import prepare
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
    TensorType,
    read_quantized_values,
    unsigned,
)
from edgekit.targets.tflite.lowering.registry import LOWERINGS, OpSupport
from edgekit.targets.tflite.lowering.requantize import requantized
from edgekit.targets.tflite.lowering.sparse_weights import sparse_notes
from edgekit.targets.tflite.lowering.weight_only import weight_notes
from edgekit.targets.tflite.tensor_origin import TensorOrigin

_REMEDY = (
    "Replace these operators in the model, or try the second engine: --engine onnx2tf "
    "(its output is checked the same way)."
)


@dataclass(frozen=True, slots=True)
class LoweringOptions:
    """Options of the TFLite lowering.

    Attributes:
        weights_dtype: ``"float16"`` stores large float constants in half precision; compute
            stays float32 where the runtime has no half-precision kernels.
        weight_compute: How operators on float activations compute with integer weights:
            ``"dynamic"`` on the integers where a kernel does so well, rounding activations to
            8 bits; ``"exact"`` in float32 on restored weights.
        description: Text in the file's description field.
        io: Type of inputs and outputs that are quantized within; float32 leaves them.
        integer_only: Computes on integers also where float kernels are faster.
    """

    weights_dtype: Literal["float32", "float16"] = "float32"
    weight_compute: WeightCompute = "exact"
    io: IoType = "float32"
    integer_only: bool = False
    description: str = "edgekit"


@dataclass(frozen=True, slots=True)
class LoweredGraph:
    """A TFLite model in memory.

    Attributes:
        data: The file's bytes.
        signature: Inputs and outputs in ONNX order, with the order they are stored in.
        notes: Reasons for the report.
        tensors: Which ONNX value each activation tensor holds.
        float_reasons: Why an operator of a quantized graph computes in float, by the tensor
            that it writes.
    """

    data: bytes
    signature: ModelSignature
    notes: tuple[str, ...]
    tensors: tuple[TensorOrigin, ...] = ()
    float_reasons: Mapping[str, str] = field(default_factory=dict)


def lower_graph(model: ir.Model, options: LoweringOptions) -> LoweredGraph:
    """Lowers a canonical graph; ``model`` is not modified.

    Raises:
        UnsupportedGraphError: With every node that cannot be expressed.
    """
    prepared = prepare(model)
    model = prepared.model
    context = LoweringContext(
        model=FlatbufferModel(options.description),
        weights_dtype=options.weights_dtype,
        weight_compute=options.weight_compute,
        fused=plan_fused_activations(model.graph),
        biases=plan_bias_additions(model.graph),
        reasons=prepared.reasons,
        quantized=read_quantized_values(model.graph),
        stated_reasons=read_float_reasons(model),
        integer_normalization=options.integer_only or pays_off(model),
    )
    refused: list[UnsupportedNode] = []
    inputs = _place_inputs(context, model, refused)
    refused += _lower_nodes(context, model)
    context.integer = context.as_images = False
    if refused:
        raise UnsupportedGraphError("tflite", refused, _REMEDY)
    outputs = _place_outputs(context, model.graph, set(inputs.values()))
    named = {
        str(value.name): tensor
        for value, (tensor, _) in zip(model.graph.outputs, outputs, strict=True)
    }
    if options.io != "float32":
        inputs = integer_inputs(context.model, inputs, options.io, context.notes)
        named = integer_outputs(context.model, named, options.io, context.notes)
    signature = ModelSignature(
        inputs=tuple(
            _spec(context, value, context.axes(value), inputs[str(value.name)])
            for value in model.graph.inputs
        ),
        outputs=tuple(
            _spec(context, value, axes, named[str(value.name)])
            for value, (_, axes) in zip(model.graph.outputs, outputs, strict=True)
        ),
    )
    _, written = context.model.needed(list(named.values()))
    origins = tuple(
        TensorOrigin(tensor=context.model.name_of(tensor), value=str(value.name), stored_axes=axes)
        for tensor, (value, axes) in context.origins.items()
        # Inputs and outputs in uint8 hold other integers than the value they stand for.
        if tensor in written and context.model.type_of(tensor).dtype != "uint8"
    )
    data = context.model.build(inputs, named)
    notes = (*context.notes, *weight_notes(context), *sparse_notes(context))
    reasons = {
        context.model.name_of(tensor): reason
        for tensor, reason in context.float_reasons.items()
        if tensor in written
    }
    return LoweredGraph(data, signature, notes, origins, reasons)


def check_graph(model: ir.Model) -> SupportReport:
    """Lists the nodes that `lower_graph` would refuse; ``model`` is not modified."""
    try:
        lower_graph(model, LoweringOptions())
    except UnsupportedGraphError as error:
        return SupportReport(unsupported=error.nodes)
    return SupportReport()


def _place_inputs(
    context: LoweringContext, model: ir.Model, refused: list[UnsupportedNode]
) -> dict[str, int]:
    """Adds a tensor for each input; one that TFLite has no tensor for is added to ``refused``."""
    tensors = {}
    for value in model.graph.inputs:
        axes = choose_input_axes(value)
        try:
            shape = stored_shape(context.shape(value), axes)
            kind = context.quantized.integers.get(value, TensorType(context.dtype(value)))
        except Refusal as refusal:
            refused.append(_unsupported(model, str(value.name), "input", [value], refusal))
            shape, kind = (1,) * len(axes), FLOAT32
        stored = unsigned(kind) if value.dtype == ir.DataType.UINT8 else kind
        tensor = context.model.add_tensor(str(value.name), shape, stored)
        tensors[str(value.name)] = tensor
        if stored != kind:
            tensor = requantized(context, tensor, shape, kind, f"{value.name}/int8")
        context.bind(value, tensor, axes)
    return tensors


def _lower_nodes(context: LoweringContext, model: ir.Model) -> list[UnsupportedNode]:
    refused = []
    absorbed = {activation.node for activation in context.fused.values()}
    absorbed |= set(context.biases.values())
    for node in model.graph:
        if node in absorbed:
            continue
        written = context.model.operator_count
        try:
            support = _support_of(node)
            _refuse_empty(context, node)
            context.reason = reason_in_float(context, node, support)
            context.integer = not context.reason
            context.as_images = sees_images(node, context.is_image)
            support.lower(context, node)
            _refuse_unmade(context, node)
            _explain_floats(context, node, written)
        except Refusal as refusal:
            refused.append(_describe(model, node, refusal))
            context.as_images = False
            _bind_placeholders(context, node)
    return refused


def _support_of(node: ir.Node) -> OpSupport:
    support = LOWERINGS.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
    if support is None:
        raise Refusal("edgekit has no TFLite lowering for this operator")
    return support


def _refuse_empty(context: LoweringContext, node: ir.Node) -> None:
    """Kernels disagree about tensors without elements, or divide by their size."""
    computed = [v for v in node.inputs if v is not None and context.constant(v) is None]
    if any(0 in value.shape for value in (*computed, *node.outputs) if value.shape is not None):
        raise Refusal("an empty tensor", "tensors with elements")


def _refuse_unmade(context: LoweringContext, node: ir.Node) -> None:
    """Refuses a node of which an output is read that its lowering does not make."""
    if node in context.fused or node in context.biases:
        return
    for output in node.outputs:
        read = bool(output.uses()) or output.is_graph_output()
        if read and not context.is_placed(output) and context.constant(output) is None:
            raise Refusal(
                f"its output {output.name!r} is read, which TFLite does not make",
                "the first output alone",
            )


def _explain_floats(context: LoweringContext, node: ir.Node, written: int) -> None:
    """Keeps the reason of every operator that this node computes in float with."""
    if context.integer or not context.quantized.activations:
        return
    reason = context.stated_reasons.get(node.name or "", context.reason)
    for tensor in context.model.float_tensors_since(written):
        context.float_reasons[tensor] = reason


def _bind_placeholders(context: LoweringContext, node: ir.Node) -> None:
    """Stands in for the outputs of a refused node, so that the following nodes are checked."""
    activation = context.fused.get(node)
    for value in (*node.outputs, *(activation.node.outputs if activation else ())):
        rank = len(value.shape) if value.shape is not None else 0
        try:
            kind = context.type_of(value)
        except Refusal:
            # Of a type that no tensor has: perhaps why the node is refused.
            kind = FLOAT32
        context.bind(value, context.model.add_tensor("refused", [1] * rank, kind), identity(rank))


def _describe(model: ir.Model, node: ir.Node, refusal: Refusal) -> UnsupportedNode:
    known = LOWERINGS.get(node.op_type)
    described = Refusal(refusal.reason, refusal.accepted or (known.accepts if known else ""))
    op = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    inputs = [value for value in node.inputs if value is not None]
    return _unsupported(model, node.name or "", op, inputs, described, node)


def _unsupported(
    model: ir.Model,
    name: str,
    op: str,
    values: Sequence[ir.Value],
    refusal: Refusal,
    node: ir.Node | None = None,
) -> UnsupportedNode:
    domain, version = (node.domain, node.version) if node is not None else ("", None)
    return UnsupportedNode(
        node=name,
        op=op,
        opset=version or model.graph.opset_imports.get(domain, 0),
        shapes=", ".join(str(value.shape) if value.shape else "?" for value in values),
        dtypes=", ".join(value.dtype.name.lower() if value.dtype else "?" for value in values),
        reason=refusal.reason,
        accepted=refusal.accepted,
    )


def _place_outputs(
    context: LoweringContext, graph: ir.Graph, taken: set[int]
) -> list[tuple[int, Axes]]:
    """Gives every output a tensor of its own with the output's exact name."""
    placed = []
    input_names = {str(value.name) for value in graph.inputs}
    for value in graph.outputs:
        axes = context.axes(value)
        if not keeps_stored(graph, axes):
            axes = identity(len(axes))
        tensor = context.tensor(value, axes)
        name = str(value.name)
        if value.dtype == ir.DataType.UINT8:
            stored = unsigned(context.model.type_of(tensor))
            shape = stored_shape(context.shape(value), axes)
            tensor = requantized(context, tensor, shape, stored, f"{name}/uint8")
        if tensor in taken or context.constant(value) is not None:
            shape = stored_shape(context.shape(value), axes)
            tensor = context.copy(tensor, shape, context.model.type_of(tensor), name)
        if name in input_names:
            # Tensor names are unique; the signature still calls this output by its own name.
            name = f"{name}/output"
        context.model.rename(tensor, name)
        taken.add(tensor)
        placed.append((tensor, axes))
    return placed


def _spec(context: LoweringContext, value: ir.Value, axes: Axes, tensor: int) -> TensorSpec:
    stored = stored_integers(context.model, tensor) if value.dtype == ir.DataType.FLOAT else None
    return TensorSpec.model_validate(
        {
            "name": str(value.name),
            "shape": context.shape(value),
            "dtype": context.dtype(value),
            "stored_axes": None if axes == identity(len(axes)) else axes,
            "stored_integers": stored,
        }
    )
