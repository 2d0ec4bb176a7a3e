"""The optimizer and what it decays."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from edgekit.training.config import TrainConfig

_MOMENTUM = 0.9


def make_optimizer(model: nn.Module, config: TrainConfig) -> Optimizer:
    """Adam, AdamW or SGD with Nesterov momentum over all parameters that want a gradient."""
    groups = parameter_groups(model, config.weight_decay, decay_vectors=config.decay_vectors)
    # On a CPU the loop over tensors, whose order of additions does not depend on how torch
    # batches them; on a GPU one kernel for all of them, since starting kernels takes longest.
    gpu = next(model.parameters()).is_cuda
    fused, foreach = (True, None) if gpu else (None, False)
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr, fused=fused, foreach=foreach)
    if config.optimizer == "adam":
        return Adam(groups, lr=config.lr, fused=fused, foreach=foreach)
    return SGD(
        groups, lr=config.lr, momentum=_MOMENTUM, nesterov=True, fused=fused, foreach=foreach
    )


def parameter_groups(
    model: nn.Module, weight_decay: float, *, decay_vectors: bool = False
) -> list[dict[str, Any]]:
    """Splits parameters into those with weight decay and those without.

    Vectors and scalars are biases and the scales and shifts of normalisations. Decaying them
    pulls activations to zero and does not regularise.
    """
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in wanted if p.ndim > 1], "weight_decay": weight_decay},
        {
            "params": [p for p in wanted if p.ndim <= 1],
            "weight_decay": weight_decay if decay_vectors else 0.0,
        },
    ]
