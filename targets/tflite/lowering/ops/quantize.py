"""QuantizeLinear and DequantizeLinear: mostly nothing, since tensors carry the parameters."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.graph.node_view import required_input
from edgekit.targets.tflite.lowering.context import LoweringContext
from edgekit.targets.tflite.lowering.layout import stored_shape
from edgekit.targets.tflite.lowering.quantization import parameters_of, signed
from edgekit.targets.tflite.lowering.registry import lowers
from edgekit.targets.tflite.lowering.requantize import requantized


@lowers("QuantizeLinear", accepts="constant parameters for the whole tensor")
def lower_quantize(context: LoweringContext, node: ir.Node) -> None:
    """QuantizeLinear -> nothing where the value is stored with these parameters already.

    Else a QUANTIZE: from float, or from integers of other bits or parameters.
    """
    value, result = required_input(node, 0), node.outputs[0]
    wanted = signed(parameters_of(node))
    _carry_facts(context, value, result)
    places = context.places(value)
    for place in places:
        if context.model.type_of(place.tensor) == wanted:
            context.bind(result, place.tensor, place.axes)
            return
    axes = context.axes(value)
    tensor = places[0].tensor if places else context.tensor(value)
    shape = stored_shape(context.shape(value), axes)
    context.bind(result, requantized(context, tensor, shape, wanted, str(result.name)), axes)


@lowers("DequantizeLinear", accepts="constant parameters")
def lower_dequantize(context: LoweringContext, node: ir.Node) -> None:
    """DequantizeLinear -> nothing; a reader that computes in float writes the DEQUANTIZE."""
    value, result = required_input(node, 0), node.outputs[0]
    parameters_of(node)
    if value.const_value is not None:
        return
    _carry_facts(context, value, result)
    for place in context.places(value):
        context.bind(result, place.tensor, place.axes)


def _carry_facts(context: LoweringContext, value: ir.Value, result: ir.Value) -> None:
    if value in context.non_negative:
        context.non_negative.add(result)
    if value in context.feature_order:
        context.feature_order[result] = context.feature_order[value]
