"""Canonical graph to torch twin."""

from __future__ import annotations

import onnx_ir as ir
from torch import fx

from edgekit.errors import UnsupportedGraphError, UnsupportedNode
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.signature import signature_of
from edgekit.graph.torch_twin import ops as _ops  # noqa: F401 - fills the table
from edgekit.graph.torch_twin.context import TwinContext
from edgekit.graph.torch_twin.dtypes import TORCH_TYPES
from edgekit.graph.torch_twin.qdq import data_inputs, selects
from edgekit.graph.torch_twin.registry import TWIN_OPS, Refusal
from edgekit.graph.torch_twin.twin import VALUE, TorchTwin

OLDEST_OPSET, NEWEST_OPSET = 18, 25
"""Between them the operators of the table mean the same, but for what they check."""
_TARGET = "torch twin"


def build_twin(model: ir.Model) -> TorchTwin:
    """Makes the torch form of a graph, in evaluation mode on the CPU.

    Weights become parameters of real layers (`nn.Conv2d`, `nn.Linear`, `nn.LSTM`, ...), and
    each pair of QuantizeLinear and DequantizeLinear a `FakeQuantize`.

    Args:
        model: A canonical graph, float or QDQ; not modified and not shared with the twin.

    Raises:
        UnsupportedGraphError: If torch has no form of some nodes; all of them are listed.
    """
    if _needs_shapes(model):
        model = ir.from_proto(ir.to_proto(model))
        InferShapes()(model)
    opset = model.opset_imports.get("", 0)
    context = TwinContext(model.graph, opset)
    for value in model.graph.inputs:
        if value.name not in model.graph.initializers:
            name = context.constants.unique_name(value.name or "input")
            context.values[value] = context.graph.placeholder(name)
            _note(context.values[value], value)
    refused = [found for node in model.graph if (found := _build(context, node, opset))]
    if refused:
        raise UnsupportedGraphError(
            _TARGET, refused, "Such a graph can be run and measured, but not trained."
        )
    outputs = tuple(context.operand(value) for value in model.graph.outputs)
    context.graph.output(outputs)
    module = fx.GraphModule(context.constants.root, context.graph, "TwinGraph")
    constants = context.constants
    return TorchTwin(
        module,
        signature_of(model),
        constants.parameter_bindings,
        constants.quantizer_bindings,
        context.layers,
    ).eval()


def _needs_shapes(model: ir.Model) -> bool:
    return any(
        value.dtype is None or value.shape is None
        for node in model.graph
        for value in node.outputs
        if value.uses()
    )


def _build(context: TwinContext, node: ir.Node, opset: int) -> UnsupportedNode | None:
    """Builds one node; where it is refused, its outputs get a stand-in and the reason is given."""
    try:
        built = _outputs(context, node, opset)
    except Refusal as refusal:
        stand_in = context.graph.call_function(_never, ())
        for value in node.outputs:
            context.values[value] = stand_in
        return _unsupported(node, opset, refusal)
    for value, result in zip(node.outputs, built, strict=False):
        if result is not None:
            context.values[value] = result
            if value not in context.absorbed.values():
                _note(result, value)
    _keep_rounding(context, node)
    return None


def _outputs(context: TwinContext, node: ir.Node, opset: int) -> tuple[fx.Node | None, ...]:
    if node.domain != "" or node.op_type not in TWIN_OPS:
        raise Refusal("the operator has no torch form")
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise Refusal(
            f"its opset is {opset}", f"opset {OLDEST_OPSET} to {NEWEST_OPSET}; canonicalize first"
        )
    _check_types(node)
    built = TWIN_OPS[node.op_type].build(context, node)
    if built is None:
        return ()
    results = (built,) if isinstance(built, fx.Node) else tuple(built)
    missing = [
        value.name
        for index, value in enumerate(node.outputs)
        if (index >= len(results) or results[index] is None)
        and (value.uses() or value.is_graph_output())
    ]
    if missing:
        raise Refusal(f"its output {', '.join(map(repr, missing))} is used")
    return results


def _check_types(node: ir.Node) -> None:
    for role, values in (("input", node.inputs), ("output", node.outputs)):
        for index, value in enumerate(values):
            if value is None or value.dtype is None or not value.name:
                continue
            quantized = node.op_type in ("QuantizeLinear", "DequantizeLinear")
            if value.dtype not in TORCH_TYPES and not quantized:
                raise Refusal(
                    f"{role} {index} is {value.dtype}",
                    ", ".join(str(dtype) for dtype in TORCH_TYPES),
                )


def _keep_rounding(context: TwinContext, node: ir.Node) -> None:
    """Notes that values which were only moved about need no second rounding."""
    if not selects(node):
        return
    sources = [context.values.get(value) for value in data_inputs(node)]
    paths = {context.rounded_by.get(source) if source else None for source in sources}
    if len(paths) == 1 and (path := paths.pop()) is not None:
        for value in node.outputs:
            if value in context.values:
                context.rounded_by[context.values[value]] = path


def _note(result: fx.Node, value: ir.Value) -> None:
    result.meta[VALUE] = (*result.meta.get(VALUE, ()), value.name)


def _never() -> None:
    raise AssertionError("a refused node is never run")


def _unsupported(node: ir.Node, opset: int, refusal: Refusal) -> UnsupportedNode:
    domain = f"{node.domain}::" if node.domain else ""
    values = [value for value in node.inputs if value is not None]
    return UnsupportedNode(
        node=node.name or "",
        op=f"{domain}{node.op_type}",
        opset=opset,
        shapes=", ".join(str(value.shape) if value.shape is not None else "?" for value in values),
        dtypes=", ".join(str(value.dtype) if value.dtype is not None else "?" for value in values),
        reason=refusal.reason,
        accepted=refusal.accepted,
    )
