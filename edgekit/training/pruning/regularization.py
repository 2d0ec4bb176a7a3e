"""Penalties that make channels unimportant while a network is trained."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, UnsupportedError
from edgekit.training.network_name import network_name
from edgekit.training.pruning.channel_graph import BATCH_NORMS


def bn_l1(module: nn.Module, strength: float) -> Tensor:
    """``strength`` times the sum of ``|gamma|`` over all BatchNorm scales.

    To be added to the loss before pruning with importance bn_scale (Liu et al., Learning
    Efficient Convolutional Networks through Network Slimming, ICCV 2017, equation 1). Its
    gradient is ``strength * sign(gamma)``, and 0 at 0.

    Args:
        module: Its scales must be trained; an imported graph has folded its BatchNorms.
        strength: Positive; the paper uses 1e-5 to 1e-4.

    Returns:
        A scalar.

    Raises:
        ConfigError: If the strength is not positive.
        UnsupportedError: If there is no BatchNorm with a scale.
    """
    if not (math.isfinite(strength) and strength > 0):
        raise ConfigError(f"The strength of the penalty is {strength}; it has to be positive")
    scales = [
        item.weight for item in module.modules() if isinstance(item, BATCH_NORMS) and item.affine
    ]
    if not scales:
        raise UnsupportedError(
            f"There is no BatchNorm with a scale in {network_name(module)}, which the penalty of "
            "network slimming needs. Prune with importance magnitude, or train before folding"
        )
    return strength * torch.stack([scale.abs().sum() for scale in scales]).sum()
