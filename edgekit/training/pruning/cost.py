"""What a module costs to run: multiply-accumulates and parameters."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class Cost:
    """Size of a module.

    Attributes:
        macs: Multiply-accumulates of convolutions and matrix products for one run.
        parameters: Numbers in its parameters.
    """

    macs: int
    parameters: int


def cost_of(module: nn.Module, inputs: Sequence[Tensor]) -> Cost:
    """Counts what torch executes, so matrix products between activations count as well.

    Args:
        module: Run once on a copy in evaluation mode; not modified.
        inputs: Arguments of its forward.
    """
    parameters = sum(item.numel() for item in module.parameters())
    # A copy, since its mode is changed and a forward may have effects. Gradients stay on:
    # without them nn.MultiheadAttention runs as one fused op, whose products nobody counts.
    module = copy.deepcopy(module).eval()
    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        module(*inputs)
    return Cost(counter.get_total_flops() // 2, parameters)
