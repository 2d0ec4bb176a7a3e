"""What a network is called in messages."""

from __future__ import annotations

from torch import nn

from edgekit.graph.torch_twin.twin import TorchTwin


def network_name(module: nn.Module) -> str:
    """The class of a torch module; a twin of a graph has none that its user knows."""
    return "the network" if isinstance(module, TorchTwin) else type(module).__name__
