"""Unstructured pruning: single weights that are 0 and stay 0.

A pattern N:M keeps the N largest of each M neighbours along the input channels (Mishra et
al., Accelerating Sparse Deep Neural Networks, arXiv:2104.08378); a share removes the smallest
weights of a layer, or of the whole network (Han et al., Learning both Weights and Connections,
NIPS 2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgekit.errors import ConfigError, UnsupportedError
from edgekit.training.network_name import network_name
from edgekit.training.pruning.keep_patterns import keeps
from edgekit.training.pruning.layer_names import layer_names
from edgekit.training.pruning.sparsify_options import Scope


class Masked(nn.Module):
    """Parametrization that multiplies a weight with a mask.

    Attributes:
        mask: ``bool`` of the weight's shape; False where the weight is 0.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask.clone())

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with its zeros, through which no gradient passes."""
        return torch.where(self.mask, weight, torch.zeros((), dtype=weight.dtype))

    def right_inverse(self, weight: Tensor) -> Tensor:
        """What is stored when a weight is assigned."""
        return torch.where(self.mask, weight, torch.zeros((), dtype=weight.dtype))


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Zeros of a layer's weights.

    Attributes:
        layer: Dotted name.
        zeros: Weights that are 0.
        weights: All of them.
    """

    layer: str
    zeros: int
    weights: int


def magnitude_masks(
    module: nn.Module, share: float, *, scope: Scope = "layer", keep: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Masks that remove the smallest weights of convolutions and linear layers.

    Args:
        module: Not modified.
        share: Of the weights that become 0, exactly ``floor(share * count)``; of equal
            weights the first ones go.
        scope: ``"layer"`` takes the share of each layer, ``"global"`` of all together.
        keep: Names (in a twin of ONNX nodes) or patterns of layers that stay dense.

    Returns:
        By dotted name of the layer, ``bool`` of the weight's shape.

    Raises:
        ConfigError: If the share is not within (0, 1), or leaves a layer empty.
        UnsupportedError: If there is no layer.
    """
    if not 0 < share < 1:
        raise ConfigError(f"The share of weights to remove is {share}; it lies between 0 and 1")
    weights = _weights(module, keep)
    if scope == "layer":
        masks = {layer: _largest(weight, share) for layer, weight in weights.items()}
    else:
        flat = torch.cat([weight.flatten() for weight in weights.values()])
        sizes = [weight.numel() for weight in weights.values()]
        parts = torch.split(_largest(flat, share), sizes)
        masks = {
            layer: part.reshape(weight.shape)
            for (layer, weight), part in zip(weights.items(), parts, strict=True)
        }
    names = layer_names(module)
    empty = [names[layer] for layer, mask in masks.items() if not bool(mask.any())]
    if empty:
        raise ConfigError(
            f"A share of {share:g} leaves no weight in {', '.join(empty)}; lower it, or name "
            "these layers in keep"
        )
    return masks


def n_of_m_masks(
    module: nn.Module, n: int, m: int, *, keep: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Masks that keep the ``n`` largest of each ``m`` weights along the input channels.

    Of equal weights the first ones stay. A layer whose input channels (in a group) are not a
    multiple of ``m`` stays dense and has no mask, as depthwise and first layers.

    Args:
        module: Not modified.
        n: Weights kept of each ``m``.
        m: Neighbours.
        keep: Names (in a twin of ONNX nodes) or patterns of layers that stay dense.

    Raises:
        ConfigError: If not ``0 < n < m``.
        UnsupportedError: If no layer has such input channels.
    """
    if not 0 < n < m:
        raise ConfigError(f"The pattern {n}:{m} is none; n has to lie between 1 and m - 1")
    masks = {}
    for layer, weight in _weights(module, keep).items():
        axis = _input_axis(module.get_submodule(layer))
        if weight.shape[axis] % m == 0:
            masks[layer] = _n_of_m(weight, n, m, axis)
    if not masks:
        raise UnsupportedError(
            f"No layer has input channels in multiples of {m}, which {n}:{m} needs"
        )
    return masks


def apply_masks(module: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Makes weights 0, also after every step of a training that follows.

    Args:
        module: Changed in place: the weight of each layer is a masked parametrization, whose
            original is the parameter that an optimizer sees.
        masks: By layer, ``bool`` of the weight's shape.

    Raises:
        ConfigError: If a mask fits no weight, or the layer has one.
    """
    for layer, mask in masks.items():
        target = module.get_submodule(layer)
        weight = target.weight
        if not isinstance(weight, Tensor) or weight.shape != mask.shape:
            shape = list(weight.shape) if isinstance(weight, Tensor) else None
            raise ConfigError(
                f"The mask of {layer} has shape {list(mask.shape)}, its weight {shape}"
            )
        if _mask_of(target) is not None:
            raise ConfigError(f"{layer} has a mask; call make_permanent before another one")
        parametrize.register_parametrization(target, "weight", Masked(mask.to(weight.device)))


def make_permanent(module: nn.Module) -> tuple[Sparsity, ...]:
    """Replaces masked weights by plain ones that hold the zeros.

    Args:
        module: Changed in place; its state dict has the names of before the masks.

    Returns:
        The zeros of each layer that had a mask.
    """
    found = []
    for layer, target in list(module.named_modules()):
        if _mask_of(target) is None:
            continue
        parametrize.remove_parametrizations(target, "weight", leave_parametrized=True)
        weight = target.get_parameter("weight")
        found.append(Sparsity(layer, int((weight == 0).sum()), weight.numel()))
    return tuple(found)


def input_channels(layer: nn.Module) -> int:
    """Input channels of a layer, within one group: what a pattern N:M runs along."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return int(weight.shape[_input_axis(layer)])


def _weights(module: nn.Module, keep: tuple[str, ...]) -> dict[str, Tensor]:
    result = {}
    for layer, name in layer_names(module).items():
        if not keeps(keep, name):
            weight = module.get_submodule(layer).weight
            assert isinstance(weight, Tensor)
            result[layer] = weight.detach()
    if not result:
        raise UnsupportedError(
            f"There is no convolution or linear layer to prune in {network_name(module)}"
            + (f" besides those that keep names ({', '.join(keep)})" if keep else "")
        )
    return result


def _largest(weight: Tensor, share: float) -> Tensor:
    """True but for the smallest ``floor(share * count)`` magnitudes."""
    order = torch.argsort(weight.abs().flatten(), stable=True)
    mask = torch.ones(weight.numel(), dtype=torch.bool, device=weight.device)
    mask[order[: int(share * weight.numel())]] = False
    return mask.reshape(weight.shape)


def _n_of_m(weight: Tensor, n: int, m: int, axis: int) -> Tensor:
    moved = weight.abs().movedim(axis, -1)
    blocks = moved.reshape(-1, m)
    order = torch.argsort(blocks, dim=1, descending=True, stable=True)
    mask = torch.zeros_like(blocks, dtype=torch.bool).scatter_(1, order[:, :n], True)
    return mask.reshape(moved.shape).movedim(-1, axis).contiguous()


def _input_axis(layer: nn.Module) -> int:
    return 0 if getattr(layer, "transposed", False) else 1


def _mask_of(layer: nn.Module) -> Masked | None:
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    chain = layer.get_submodule("parametrizations.weight")
    return next((item for item in chain.children() if isinstance(item, Masked)), None)
