"""Zeros of a sparse network, which stay while it is trained on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

SPARSE_FROM = 0.2
"""Share of zeros from which on a tensor counts as sparse. Weights that were trained are hardly
ever exactly 0, so that nothing but a pruning leaves as many."""


def sparse_masks(module: nn.Module) -> dict[str, Tensor]:
    """Where the weights of sparse layers are not 0.

    Vectors are no weights. A tensor of zeros alone was not pruned: nothing would be left of it,
    and some networks begin that way.

    Returns:
        By name of the parameter, ``bool`` of its shape.
    """
    masks = {}
    for name, weight in module.named_parameters():
        if weight.ndim < 2:
            continue
        mask = weight.detach() != 0
        zeros = mask.numel() - int(mask.sum())
        if SPARSE_FROM * mask.numel() <= zeros < mask.numel():
            masks[name] = mask
    return masks


def keep_zeros(module: nn.Module, optimizer: Optimizer) -> tuple[str, ...]:
    """Puts the zeros of sparse weights back after every step of an optimizer.

    Args:
        module: Its weights as they are now say which zeros stay.
        optimizer: Of these weights.

    Returns:
        Names of the parameters with such zeros.
    """
    masks = sparse_masks(module)
    if not masks:
        return ()
    parameters = dict(module.named_parameters())
    pairs = [(parameters[name], mask) for name, mask in masks.items()]

    @torch.no_grad()
    def put_back(_: Optimizer, __: tuple[Any, ...], ___: dict[str, Any]) -> None:
        for weight, mask in pairs:
            weight.mul_(mask)

    optimizer.register_step_post_hook(put_back)
    return tuple(masks)
