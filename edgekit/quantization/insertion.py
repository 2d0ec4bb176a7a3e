"""Writing a placement with its parameters into a graph: the QDQ graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from edgekit.errors import InternalError, UnsupportedError
from edgekit.graph.quantized import write_float_reasons
from edgekit.graph.values import Array, add_initializer
from edgekit.quantization.affine import AffineParameters
from edgekit.quantization.parameters import (
    BiasParameters,
    QuantParameters,
    WeightParameters,
    constant_of,
)
from edgekit.quantization.placement import Placement, Reader

WIDE_OPSET = 21
"""The first opset with 16-bit and 4-bit integers, and with blocks, in QuantizeLinear."""


def insert_qdq(model: ir.Model, placement: Placement, parameters: QuantParameters) -> ir.Model:
    """The graph with a QuantizeLinear/DequantizeLinear pair at every quantized value.

    A value ``v`` becomes ``v -> "v/quantize" -> "v/int8" -> "v/dequantize" ->
    "v/dequantized"``, which all its readers read; values of one group read the same scale
    and zero point. An output of the model keeps its name behind the pair, and the op's result
    is called ``"v/result"``. Weights, biases and constants become integer initializers behind
    a DequantizeLinear.

    Args:
        model: The graph that the placement was made for; not modified.
        placement: Where it is quantized.
        parameters: With which scales and integers.

    Raises:
        InternalError: If names do not fit together or the result is no valid ONNX.
        UnsupportedError: If 16-bit or 4-bit integers are asked for in a graph with an op that
            changed its meaning in opset 21.
    """
    working = ir.from_proto(ir.to_proto(model))
    if placement.already_quantized:
        return working
    _raise_opset(working, placement)
    editor = _Editor(working, parameters)
    for group in placement.groups:
        editor.add_group(group.name)
    converted = {conversion.name for conversion in placement.conversions}
    for group in placement.groups:
        for member in group.members:
            if member not in converted:
                editor.add_pair(member, group.name)
    group_of = placement.group_of()
    for conversion in placement.conversions:
        editor.add_conversion(
            conversion.value, conversion.name, group_of[conversion.name].name, conversion.readers
        )
    for constant in placement.constants:
        editor.add_constant(
            constant.value, constant.group, constant.readers, constant_of(model, constant.value)
        )
    for layer in placement.layers:
        editor.add_layer(
            layer.layer, layer.weight, layer.bias.reader if layer.bias is not None else None
        )
    editor.remove_unused()
    write_float_reasons(working, dict(placement.float_reasons))
    _check(working)
    return working


class _Editor:
    """Edits one graph; keeps the nodes by name and the initializers that groups share."""

    def __init__(self, model: ir.Model, parameters: QuantParameters) -> None:
        self._graph = model.graph
        self._parameters = parameters
        self._nodes = {node.name: node for node in model.graph}
        values = [*model.graph.inputs, *(out for node in model.graph for out in node.outputs)]
        self._values = {value.name: value for value in values}
        self._shared: dict[str, tuple[ir.Value, ir.Value]] = {}
        self._dequantized: dict[str, ir.Value] = {}
        self._weights: dict[str, tuple[WeightParameters, ir.Value]] = {}
        self._inputs_end: ir.Node | None = None

    def add_group(self, name: str) -> None:
        """Adds the scale and zero point that the values of a group read."""
        affine = self._parameters.groups[name]
        self._shared[name] = self._affine_initializers(name, affine)

    def add_pair(self, name: str, group: str) -> None:
        """Puts the pair behind a value, for all its readers."""
        value = self._values[name]
        uses = tuple(value.uses())
        if value.is_graph_output():
            value.name = f"{name}/result"
        nodes = self._pair(value, name, group)
        output = nodes[1].outputs[0]
        if value.is_graph_output():
            output.name = name
            for index, item in enumerate(self._graph.outputs):
                if item is value:
                    self._graph.outputs[index] = output
        for use in uses:
            use.node.replace_input_with(use.idx, output)
        producer = value.producer()
        if producer is not None:
            self._graph.insert_after(producer, nodes)
        elif self._inputs_end is not None:
            self._graph.insert_after(self._inputs_end, nodes)
            self._inputs_end = nodes[-1]
        else:
            self._graph.insert_before(self._graph[0], nodes)
            self._inputs_end = nodes[-1]
        self._dequantized[name] = output

    def add_conversion(self, value: str, name: str, group: str, readers: Sequence[Reader]) -> None:
        """Puts a second pair between a quantized value and some of its readers."""
        source = self._dequantized[value]
        nodes = self._pair(source, name, group)
        producer = source.producer()
        if producer is None:
            raise InternalError(f"Value {value!r} has no pair before its conversion")
        self._graph.insert_after(producer, nodes)
        self._redirect(readers, nodes[1].outputs[0])

    def add_constant(self, name: str, group: str, readers: Sequence[Reader], array: Array) -> None:
        """Lets readers of a constant read its integers through a DequantizeLinear."""
        affine = self._parameters.constants[readers[0]]
        stem = self._free_stem(name)
        integers = affine.quantize(array.astype(np.float32))
        stored = add_initializer(self._graph, f"{stem}/int{affine.bits}", integers)
        shared = self._shared[group] if group else self._affine_initializers(stem, affine)
        self._redirect(readers, self._dequantize_constant(stem, [stored, *shared], readers))

    def add_layer(self, layer: str, weight: str, bias: Reader | None) -> None:
        """Replaces weights and bias of a layer by integers."""
        parameters = self._parameters.layers[layer]
        reader = Reader(layer, 1)
        known = self._weights.get(weight)
        if known is not None and _equal(known[0], parameters.weight):
            self._redirect([reader], known[1])
        else:
            output = self._add_weight(weight, parameters.weight, reader)
            self._weights.setdefault(weight, (parameters.weight, output))
        if bias is not None and parameters.bias is not None:
            value = self._nodes[bias.node].inputs[bias.index]
            name = value.name if value is not None and value.name else f"{layer}/bias"
            self._add_bias(name, parameters.bias, bias)

    def remove_unused(self) -> None:
        """Removes the float initializers that nothing reads any more."""
        outputs = set(self._graph.outputs)
        for name, value in tuple(self._graph.initializers.items()):
            if not value.uses() and value not in outputs:
                self._graph.initializers.pop(name)

    def _add_weight(self, name: str, weight: WeightParameters, reader: Reader) -> ir.Value:
        stem = self._free_stem(name)
        bits = 8 if weight.integers.dtype == np.int8 else 4
        stored = add_initializer(self._graph, f"{stem}/int{bits}", weight.integers)
        zeros = np.zeros(weight.scale.shape, weight.integers.dtype)
        scale = add_initializer(self._graph, f"{stem}/scale", weight.scale)
        zero_point = add_initializer(self._graph, f"{stem}/zero_point", zeros)
        attributes = {"axis": weight.axis} if weight.scale.ndim else {}
        if weight.block_size:
            attributes["block_size"] = weight.block_size
        output = self._dequantize_constant(stem, [stored, scale, zero_point], [reader], attributes)
        self._redirect([reader], output)
        return output

    def _add_bias(self, name: str, bias: BiasParameters, reader: Reader) -> None:
        stem = self._free_stem(name)
        stored = add_initializer(self._graph, f"{stem}/int32", bias.integers)
        scale = add_initializer(self._graph, f"{stem}/scale", bias.scale)
        zeros = np.zeros(bias.scale.shape, np.int32)
        zero_point = add_initializer(self._graph, f"{stem}/zero_point", zeros)
        attributes = {"axis": 0} if bias.scale.ndim else {}
        output = self._dequantize_constant(stem, [stored, scale, zero_point], [reader], attributes)
        self._redirect([reader], output)

    def _pair(self, source: ir.Value, name: str, group: str) -> list[ir.Node]:
        scale, zero_point = self._shared[group]
        bits = self._parameters.groups[group].bits
        quantize = ir.node("QuantizeLinear", [source, scale, zero_point], name=f"{name}/quantize")
        integers = quantize.outputs[0]
        integers.name, integers.shape = f"{name}/int{bits}", source.shape
        integers.type = ir.TensorType(ir.DataType.INT8 if bits == 8 else ir.DataType.INT16)
        dequantize = ir.node(
            "DequantizeLinear", [integers, scale, zero_point], name=f"{name}/dequantize"
        )
        output = dequantize.outputs[0]
        output.name, output.shape, output.type = f"{name}/dequantized", source.shape, source.type
        return [quantize, dequantize]

    def _affine_initializers(
        self, stem: str, affine: AffineParameters
    ) -> tuple[ir.Value, ir.Value]:
        scale = np.asarray(affine.scale, np.float32)
        zero_point = np.asarray(affine.zero_point, affine.dtype)
        return (
            add_initializer(self._graph, f"{stem}/scale", scale),
            add_initializer(self._graph, f"{stem}/zero_point", zero_point),
        )

    def _dequantize_constant(
        self,
        stem: str,
        inputs: Sequence[ir.Value],
        readers: Sequence[Reader],
        attributes: dict[str, int] | None = None,
    ) -> ir.Value:
        node = ir.node("DequantizeLinear", inputs, attributes or {}, name=f"{stem}/dequantize")
        output = node.outputs[0]
        output.name, output.shape = f"{stem}/dequantized", inputs[0].shape
        output.type = ir.TensorType(ir.DataType.FLOAT)
        first = {reader.node for reader in readers}
        anchor = next(item for item in self._graph if item.name in first)
        self._graph.insert_before(anchor, node)
        self._values[f"{stem}/dequantized"] = output
        return output

    def _redirect(self, readers: Sequence[Reader], value: ir.Value) -> None:
        for reader in readers:
            self._nodes[reader.node].replace_input_with(reader.index, value)

    def _free_stem(self, name: str) -> str:
        """``name``, or with a number when a constant of that name was quantized before."""
        stem, count = name, 1
        while f"{stem}/dequantized" in self._values:
            stem = f"{name}/{count}"
            count += 1
        return stem


def _equal(left: WeightParameters, right: WeightParameters) -> bool:
    return bool(
        left.axis == right.axis
        and left.integers.dtype == right.integers.dtype
        and np.array_equal(left.scale, right.scale)
        and np.array_equal(left.integers, right.integers)
    )


def _raise_opset(model: ir.Model, placement: Placement) -> None:
    """Moves the graph to opset 21 where 8-bit integers are not all that is needed."""
    wide = any(group.scheme.bits != 8 for group in placement.groups) or any(
        layer.scheme.bits != 8 or layer.scheme.granularity == "blockwise"
        for layer in placement.layers
    )
    if not wide or model.opset_imports.get("", 0) >= WIDE_OPSET:
        return
    # From opset 20 to 21 all other ops only gained types.
    changed = [node.name for node in model.graph if node.op_type == "GroupNormalization"]
    if changed:
        raise UnsupportedError(
            f"GroupNormalization (node {changed[0]!r}) changed its meaning in opset "
            f"{WIDE_OPSET}, which 16-bit and 4-bit integers need; use 8 bits"
        )
    model.opset_imports[""] = WIDE_OPSET


def _check(model: ir.Model) -> None:
    try:
        onnx.checker.check_model(ir.to_proto(model))
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InternalError(f"Inserting the QDQ pairs gave no valid ONNX: {reason}") from error
