"""A torch twin whose values can be seen and replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, fx

from edgekit.core.observation import Array, Computed, ObservedTensor
from edgekit.core.signature import ModelSignature
from edgekit.errors import ConfigError, UsageError
from edgekit.graph.quantized import is_quantized
from edgekit.graph.reference import check_feeds
from edgekit.graph.torch_twin.builder import build_twin
from edgekit.graph.torch_twin.twin import VALUE, TorchTwin

type _Replace = Callable[[str, Tensor], Tensor | None]


class ObservedTwin:
    """Implements `edgekit.core.observation.ObservableSession` for a float graph in torch."""

    def __init__(self, model: ir.Model) -> None:
        """Builds the twin.

        Args:
            model: A canonical float graph; not modified.

        Raises:
            ConfigError: If the graph is quantized: then ONNX Runtime runs it as it is written.
            UnsupportedGraphError: If torch has no form of some nodes; all are listed.
        """
        if is_quantized(model):
            raise ConfigError(
                "A QDQ graph is compared as it is written, in ONNX Runtime; give its .qdq.onnx "
                "file instead of a torch source."
            )
        self._twin: TorchTwin | None = build_twin(model)
        self._signature = self._twin.signature
        self._tensors = _tensors(self._twin, model)

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs."""
        return self._signature

    @property
    def runtime(self) -> str:
        """For example ``"torch 2.9.1 (CPU)"``."""
        return f"torch {torch.__version__} (CPU)"

    @property
    def tensors(self) -> tuple[ObservedTensor, ...]:
        """Values of floats that the twin computes, in graph order."""
        return self._tensors

    @property
    def hidden(self) -> Mapping[str, str]:
        """Empty: what a layer swallows has no name in the twin."""
        return {}

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """See `ObservableSession.observe`."""
        found: dict[str, Array] = {}

        def keep(name: str, value: Tensor) -> None:
            found[name] = _as_array(value)

        self._run(feeds, keep)
        return {tensor.name: found[tensor.name] for tensor in self._tensors}

    def represent(self, name: str, values: Array) -> Array:
        """See `ObservableSession.represent`."""
        del name
        return np.asarray(values, np.float32)

    def compute(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        """See `ObservableSession.compute`."""
        found: dict[str, Array] = {}

        def replace(name: str, value: Tensor) -> Tensor | None:
            if name not in given:
                return None
            found[name] = _as_array(value)
            return torch.from_numpy(np.array(given[name], np.float32)).to(value.dtype)

        self._run(feeds, replace)
        return Computed(found)

    def close(self) -> None:
        """Frees the twin; the session cannot be used afterwards."""
        self._twin = None

    @torch.no_grad()
    def _run(self, feeds: Mapping[str, Array], replace: _Replace) -> None:
        if self._twin is None:
            raise UsageError("The session of the torch twin is closed; load it again.")
        check_feeds(self._signature, feeds)
        inputs = [torch.from_numpy(np.array(feeds[item.name])) for item in self._signature.inputs]
        _Observer(self._twin.graph_module, replace).run(*inputs)


class _Observer(fx.Interpreter):
    """Runs a graph node by node, showing each value and taking another one in its place."""

    def __init__(self, module: fx.GraphModule, replace: _Replace) -> None:
        super().__init__(module)
        self._replace = replace

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if not isinstance(result, Tensor) or n.op == "placeholder":
            return result
        for name in n.meta.get(VALUE, ()):
            replaced = self._replace(name, result)
            result = result if replaced is None else replaced
        return result


def _as_array(value: Tensor) -> Array:
    return np.array(value.detach().numpy(), np.float32)


def _tensors(twin: TorchTwin, model: ir.Model) -> tuple[ObservedTensor, ...]:
    values = {value.name: value for node in model.graph for value in node.outputs}
    outputs = {value.name for value in model.graph.outputs}
    floats = {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE, None}
    found = []
    for node in twin.graph_module.graph.nodes:
        for name in node.meta.get(VALUE, ()) if node.op != "placeholder" else ():
            value = values.get(name)
            maker = None if value is None else value.producer()
            if maker is None or value is None or value.dtype not in floats:
                continue
            found.append(
                ObservedTensor(
                    name=name,
                    canonical=name,
                    stored=node.name,
                    layer=maker.name or "",
                    operators=(maker.op_type,),
                    is_output=name in outputs,
                )
            )
    return tuple(found)
