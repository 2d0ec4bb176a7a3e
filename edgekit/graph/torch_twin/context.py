"""What the operators of the twin build with: inputs of an ONNX node, and torch nodes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir
from torch import fx, nn

from edgekit.graph.torch_twin.bindings import SAME, Layout, Weight
from edgekit.graph.torch_twin.constants import ConstantStore
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.layers import QUANTIZED, QuantizedLayer
from edgekit.graph.torch_twin.registry import Refusal
from edgekit.graph.values import Array, constant_array, input_at


@dataclass(frozen=True, slots=True)
class LayerRequest:
    """A layer of torch that an ONNX node becomes.

    Attributes:
        kind: Class of the layer without quantization.
        options: Arguments of its constructor, without bias.
        weight: Its weights.
        layout: How the layer holds them.
        bias: Its bias; None for none.
        bias_layout: How the layer holds the bias.
    """

    kind: type[nn.Module]
    options: Mapping[str, Any]
    weight: Weight
    layout: Layout = SAME
    bias: Weight | None = None
    bias_layout: Layout = SAME
    groups: int = field(default=1)


class TwinContext:
    """Builds the fx graph of one ONNX graph.

    Attributes:
        opset: Version of the default domain.
        constants: Parameters, buffers and quantizers.
        graph: The torch graph so far.
        values: Torch node of each ONNX value that has one.
        layers: Name of the layer made from each ONNX node, by the node's name.
    """

    def __init__(self, graph: ir.Graph, opset: int) -> None:
        self.opset = opset
        self.constants = ConstantStore(graph)
        self.graph = fx.Graph()
        self.values: dict[ir.Value, fx.Node] = {}
        self.layers: dict[str, str] = {}
        self.absorbed: dict[ir.Node, ir.Value] = {}
        """Nodes that the layer before them computes as well, with that layer's output."""
        self.rounded_by: dict[fx.Node, str] = {}
        """Path of the quantizer whose integers a torch node's values stand for."""

    def operand(self, value: ir.Value) -> fx.Node:
        """The torch node of a value, made where it is a constant.

        Raises:
            Refusal: If the twin cannot hold the constant.
        """
        if value not in self.values:
            weight = self.constants.weight(value)
            if weight is None:
                raise Refusal(f"nothing computes its input {value.name!r}")
            self.values[value] = self._constant(weight)
        return self.values[value]

    def tensor(self, node: ir.Node, index: int) -> fx.Node:
        """Input ``index``, which the operator's schema requires."""
        value = input_at(node, index)
        if value is None:
            raise Refusal(f"input {index} is missing, which the ONNX schema requires")
        return self.operand(value)

    def optional(self, node: ir.Node, index: int) -> fx.Node | None:
        """Input ``index``, or None where it is left out."""
        value = input_at(node, index)
        return None if value is None else self.operand(value)

    def tensors(self, node: ir.Node) -> list[fx.Node]:
        """All inputs."""
        return [self.tensor(node, index) for index in range(len(node.inputs))]

    def array(self, node: ir.Node, index: int) -> Array | None:
        """Input ``index`` when it is a constant that is not quantized."""
        return constant_array(input_at(node, index))

    def numbers(self, node: ir.Node, index: int) -> tuple[int | float, ...] | fx.Node | None:
        """Elements of a constant input; its torch node where it is computed; None if absent."""
        array = self.array(node, index)
        return self.optional(node, index) if array is None else tuple(array.reshape(-1).tolist())

    def number(self, node: ir.Node, index: int) -> int | float | fx.Node | None:
        """The element of a constant input of one element; else as `numbers`."""
        found = self.numbers(node, index)
        if isinstance(found, tuple):
            return found[0] if len(found) == 1 else self.optional(node, index)
        return found

    def rank(self, node: ir.Node, index: int = 0) -> int:
        """Number of axes of an input.

        Raises:
            Refusal: If shape inference did not find it.
        """
        value = input_at(node, index)
        if value is None or value.shape is None:
            raise Refusal(f"the rank of input {index} is unknown", "a graph with inferred shapes")
        return len(value.shape)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> fx.Node:
        """A call of a torch function or of one of the twin's own."""
        return self.graph.call_function(function, arguments, options)

    def item(self, node: fx.Node, index: int) -> fx.Node:
        """One element of what a node gives."""
        return self.graph.call_function(operator.getitem, (node, index))

    def call_module(self, path: str, *arguments: Any) -> fx.Node:
        """A call of a module of the root."""
        return self.graph.create_node("call_module", path, arguments)

    def weight(self, node: ir.Node, index: int) -> Weight | None:
        """The constant behind an input; None when it is left out or computed."""
        return self.constants.weight(input_at(node, index))

    def is_computed(self, node: ir.Node, index: int) -> bool:
        """True for an input that is there and is no constant."""
        return input_at(node, index) is not None and self.weight(node, index) is None

    def quantizer_of(self, x: fx.Node) -> FakeQuantize | None:
        """The quantizer that rounded what a torch node gives; None when it was not rounded."""
        path = self.rounded_by.get(x)
        return None if path is None else self.constants.quantizer(path)

    def layer(self, node: ir.Node, request: LayerRequest, x: fx.Node) -> fx.Node | None:
        """Makes a layer and calls it on ``x``.

        Returns:
            None when its weights are held in another layout, so that only a function can
            share them.
        """
        store = self.constants
        if not store.can_hold(request.weight, request.layout) or (
            request.bias is not None and not store.can_hold(request.bias, request.bias_layout)
        ):
            return None
        name = self.layer_name(node, request.weight)
        weight = store.leaf_parameters(request.weight, request.layout, (f"{name}.weight",))[0]
        bias = None
        if request.bias is not None:
            bias = store.leaf_parameters(request.bias, request.bias_layout, (f"{name}.bias",))[0]
        quantized = request.weight.stored is not None or (
            request.bias is not None and request.bias.stored is not None
        )
        kind = QUANTIZED[request.kind] if quantized else request.kind
        layer = kind(**request.options, bias=request.bias is not None, device="meta")
        layer.register_parameter("weight", weight)
        layer.register_parameter("bias", bias)
        if isinstance(layer, QuantizedLayer):
            self._quantize(layer, request, name, self.quantizer_of(x))
        self.add_layer(node, name, layer)
        return self.call_module(name, x)

    def layer_name(self, node: ir.Node, weight: Weight | None = None) -> str:
        """A free name: that of the weights without ``.weight``, or the node's."""
        stem, dot, _ = (weight.initializer if weight is not None else "").partition(".weight")
        return self.constants.unique_name(stem if dot else node.name or node.op_type)

    def add_layer(self, node: ir.Node, name: str, layer: nn.Module) -> None:
        """Puts a layer into the root."""
        self.constants.root.add_module(name, layer)
        if node.name:
            self.layers[node.name] = name

    def _quantize(
        self, layer: QuantizedLayer, request: LayerRequest, name: str, source: FakeQuantize | None
    ) -> None:
        layer.weight_quantizer = self.constants.weight_quantizer(
            request.weight, request.layout, f"{name}.weight_quantizer"
        )
        if request.bias is not None:
            layer.bias_quantizer = self.constants.bias_quantizer(
                request.bias, (source, layer.weight_quantizer), request.groups,
                f"{name}.bias_quantizer",
            )  # fmt: skip

    def _constant(self, weight: Weight) -> fx.Node:
        path, layout = self.constants.constant(weight)
        result = self.graph.get_attr(path)
        quantizer = self.constants.constant_quantizer(weight)
        if quantizer is not None:
            result = self.call_module(quantizer, result)
        if layout.name != SAME.name:
            if layout.restore is None:
                raise Refusal(
                    f"constant {weight.value.name!r} is also the weight of a layer that holds "
                    "it in another form"
                )
            result = self.call(layout.restore, result)
        if quantizer is not None:
            self.rounded_by[result] = quantizer
        return result
