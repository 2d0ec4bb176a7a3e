"""Convolutions and linear layers of a network made sparse for good."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.graph.torch_twin import TorchTwin
from edgekit.training.pruning.layer_names import check_names, layer_names, refuse_quantized
from edgekit.training.pruning.report import KeptWhole
from edgekit.training.pruning.sparsify_options import SparsifyOptions
from edgekit.training.pruning.unstructured import (
    Sparsity,
    apply_masks,
    input_channels,
    magnitude_masks,
    make_permanent,
    n_of_m_masks,
)


def check_sparsifiable(module: nn.Module, options: SparsifyOptions) -> None:
    """Refuses what could only be done by halves.

    Raises:
        ConfigError: If a pattern of ``options.keep`` names no layer.
        UnsupportedError: If the module is quantized.
    """
    refuse_quantized(
        module,
        "made sparse: its scales were chosen for weights that would become 0. Make the float "
        "network sparse, and quantize it afterwards",
    )
    check_names(module, options.keep)


def make_sparse(module: nn.Module, options: SparsifyOptions) -> tuple[KeptWhole, ...]:
    """Makes weights 0.

    Args:
        module: A torch module, or a `TorchTwin`; changed in place.
        options: Which weights.

    Returns:
        The layers that stay dense, by reason.

    Raises:
        ConfigError: See `check_sparsifiable`; or if the share leaves a layer empty.
        UnsupportedError: If no layer can be made sparse.
    """
    check_sparsifiable(module, options)
    if options.n_of_m is not None:
        masks = n_of_m_masks(module, *options.n_of_m, keep=options.keep)
    else:
        assert options.share is not None
        masks = magnitude_masks(module, options.share, scope=options.scope, keep=options.keep)
    apply_masks(module, masks)
    make_permanent(module)
    reasons: dict[str, list[str]] = {}
    for layer, name in layer_names(module).items():
        if layer not in masks:
            reason = _reason(module.get_submodule(layer), name, options)
            reasons.setdefault(reason, []).append(name)
    others = _others(module)
    if others:
        reasons["only convolutions and linear layers are made sparse"] = others
    return tuple(KeptWhole(tuple(layers), reason) for reason, layers in reasons.items())


def zeros_of(module: nn.Module) -> tuple[Sparsity, ...]:
    """Zeros of every convolution and linear layer as they are, in the module's order.

    Args:
        module: A torch module, or a `TorchTwin`, whose layers are then called as the nodes.
    """
    return tuple(
        Sparsity(name, int((weight == 0).sum()), weight.numel())
        for name, weight in _weights(module)
    )


def all_zeros(module: nn.Module) -> tuple[int, int]:
    """Zeros and weights of all these layers; what two of them share counts once."""
    distinct = {id(weight): weight for _, weight in _weights(module)}.values()
    return (
        sum(int((weight == 0).sum()) for weight in distinct),
        sum(weight.numel() for weight in distinct),
    )


def _weights(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [
        (name, module.get_submodule(layer).get_parameter("weight"))
        for layer, name in layer_names(module).items()
    ]


def _reason(layer: nn.Module, name: str, options: SparsifyOptions) -> str:
    if options.keeps(name) or options.n_of_m is None:
        return "keep names it"
    found, m = input_channels(layer), options.n_of_m[1]
    return f"its input channels in a group ({found}) are not a multiple of {m}"


def _others(module: nn.Module) -> list[str]:
    """Nodes with weights that the twin holds as other layers: recurrent ones."""
    if not isinstance(module, TorchTwin):
        return []
    known = set(layer_names(module).values())
    return [node for node in module.layers if node not in known]
