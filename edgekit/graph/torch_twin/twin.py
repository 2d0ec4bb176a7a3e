"""The torch form of a graph, as a module."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from edgekit.core.signature import ModelSignature
from edgekit.graph.reference import check_feeds
from edgekit.graph.torch_twin.bindings import ParameterBinding, QuantizerBinding
from edgekit.graph.torch_twin.fake_quantize import BiasQuantize, FakeQuantize
from edgekit.graph.values import Array

VALUE = "onnx_value"
"""Key of an fx node's ``meta`` under which stands the name of the graph's value."""


class TorchTwin(nn.Module):
    """A differentiable module that computes what a canonical graph computes.

    Weights of layers are parameters; other constants are buffers. It has no Dropout and no
    statistics to update, so training and evaluation mode differ only where a quantizer that
    was put in by training does.

    Attributes:
        graph_module: The torch graph with its layers.
        signature: Inputs and outputs of the ONNX graph.
        parameter_bindings: Which initializer each parameter comes from.
        quantizer_bindings: Which Q and DQ nodes each quantizer stands for.
        layers: Name of the layer within ``graph_module`` by name of the ONNX node.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        signature: ModelSignature,
        parameter_bindings: Iterable[ParameterBinding],
        quantizer_bindings: Iterable[QuantizerBinding],
        layers: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.graph_module = graph_module
        self.signature = signature
        self.parameter_bindings = tuple(parameter_bindings)
        self.quantizer_bindings = tuple(quantizer_bindings)
        self.layers = dict(layers)

    def forward(self, *inputs: Tensor) -> Any:
        """Runs the graph.

        Args:
            inputs: In the order of the signature.

        Returns:
            The output, or a tuple of them when there are several.
        """
        outputs = self.graph_module(*inputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def outputs(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Like `forward`, but a tuple also for one output."""
        outputs: tuple[Tensor, ...] = self(*inputs) if self._several else (self(*inputs),)
        return outputs

    @property
    def _several(self) -> bool:
        return len(self.signature.outputs) > 1

    @torch.no_grad()
    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once without gradients, on the CPU, with the form of a runtime session.

        Args:
            feeds: By input name; arrays are not modified.

        Returns:
            By output name.

        Raises:
            InputError: If a feed is missing, unknown, or of the wrong shape or dtype.
        """
        check_feeds(self.signature, feeds)
        inputs = [torch.from_numpy(np.array(feeds[item.name])) for item in self.signature.inputs]
        found = self.outputs(*inputs)
        names = [item.name for item in self.signature.outputs]
        return {
            name: output.detach().cpu().numpy() for name, output in zip(names, found, strict=True)
        }

    def activations(
        self, *inputs: Tensor, names: Iterable[str] | None = None
    ) -> dict[str, Tensor]:
        """Runs the graph and gives what lies between.

        Args:
            inputs: In the order of the signature.
            names: Values of the ONNX graph; None for all that the twin computes. What a
                layer swallows (a quantized weight, the inside of a Q/DQ pair) has none.

        Returns:
            By name, in graph order, with gradients where torch records them.

        Raises:
            KeyError: If the twin does not compute one of the names.
        """
        recorder = _Recorder(self.graph_module)
        recorder.run(*inputs)
        if names is None:
            return recorder.found
        return {name: recorder.found[name] for name in names}

    def quantizers(self) -> dict[str, FakeQuantize]:
        """All quantizers with parameters of their own, by name; a shared one stands once."""
        return {
            name: module
            for name, module in self.graph_module.named_modules()
            if isinstance(module, FakeQuantize)
        }

    def replace_quantizers(self, replace: Callable[[FakeQuantize], FakeQuantize]) -> None:
        """Puts another module in the place of every quantizer; a shared one stays shared.

        Args:
            replace: Gives the new module, or the same to leave it.
        """
        new = {id(old): replace(old) for old in self.quantizers().values()}
        for module in tuple(self.graph_module.modules()):
            for name, child in tuple(module.named_children()):
                if id(child) in new:
                    setattr(module, name, new[id(child)])
            if isinstance(module, BiasQuantize):
                module.sources = tuple(new.get(id(source), source) for source in module.sources)


class _Recorder(fx.Interpreter):
    """Runs a graph node by node and keeps what ONNX has a name for."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        for name in n.meta.get(VALUE, ()):
            self.found[name] = result
        return result
