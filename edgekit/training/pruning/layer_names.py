"""What the layers that pruning changes are called to the user."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from edgekit.errors import ConfigError, UnsupportedError
from edgekit.graph.torch_twin import FakeQuantize, TorchTwin
from edgekit.training.pruning.channel_graph import PRODUCERS


def layer_names(module: nn.Module) -> dict[str, str]:
    """What convolutions and linear layers are called: in a twin as the node of the ONNX graph.

    Args:
        module: A torch module, or a `TorchTwin`.

    Returns:
        By dotted name, in the order of the module; a layer of no node keeps that name.
    """
    nodes = {}
    if isinstance(module, TorchTwin):
        nodes = {f"graph_module.{layer}": node for node, layer in module.layers.items()}
    return {
        name: nodes.get(name, name)
        for name, item in module.named_modules()
        if isinstance(item, PRODUCERS)
    }


def check_names(module: nn.Module, keep: tuple[str, ...]) -> None:
    """Refuses patterns of ``keep`` that name nothing, which are most likely misspelt.

    Raises:
        ConfigError: With the names of all layers.
    """
    names = layer_names(module).values()
    unknown = [
        pattern for pattern in keep if not any(fnmatchcase(name, pattern) for name in names)
    ]
    if unknown:
        raise ConfigError(
            f"keep names no layer with {', '.join(map(repr, unknown))}; the layers are: "
            f"{', '.join(names)}"
        )


def refuse_quantized(module: nn.Module, reason: str) -> None:
    """Refuses a network with quantizers, which could only be pruned by halves.

    Args:
        module: A torch module, or a `TorchTwin`.
        reason: Why, as the end of "A quantized network cannot be ...".

    Raises:
        UnsupportedError: If the module has a quantizer.
    """
    if any(isinstance(item, FakeQuantize) for item in module.modules()):
        raise UnsupportedError(f"A quantized network cannot be {reason}")
