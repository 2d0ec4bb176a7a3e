"""The optimizer of quantization-aware training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.fake_quantize import TrainableFakeQuantize

_MOMENTUM = 0.9
_SMALLEST_SIZE = 1e-2
"""Size that a tensor is taken to have at least, so that biases of zeros are trained too."""


def make_qat_optimizer(
    twin: TorchTwin, quantizers: list[TrainableFakeQuantize], config: QatConfig
) -> Optimizer:
    """AdamW or SGD with Nesterov momentum; scales have their own rate and no decay.

    A step of AdamW moves every element by about the learning rate, whatever its gradient. The
    weights of a graph whose normalisations are folded differ in size by a factor of a hundred
    from layer to layer, so the rate of each tensor is the configured one times its root mean
    square: all layers move by the same share of their size.

    Args:
        twin: Holds weights, biases and quantizers.
        quantizers: All of them, each once.
        config: Options.
    """
    scales = [quantizer.log_factor for quantizer in quantizers if not quantizer.fixed]
    known = {id(quantizer.log_factor) for quantizer in quantizers}
    weights = [item for item in twin.parameters() if id(item) not in known]
    relative = config.optimizer == "adamw"
    groups: list[dict[str, Any]] = [
        {
            "params": [item],
            "lr": config.lr * _size(item) if relative else config.lr,
            "weight_decay": config.weight_decay if item.ndim > 1 else 0.0,
        }
        for item in weights
    ]
    if scales:
        groups.append({"params": scales, "weight_decay": 0.0, "lr": config.scale_lr})
    # foreach=False: the loop over tensors, whose order of additions does not depend on how
    # torch batches them.
    if relative:
        return AdamW(groups, foreach=False)
    return SGD(groups, momentum=_MOMENTUM, nesterov=True, foreach=False)


@torch.no_grad()
def _size(tensor: Tensor) -> float:
    return max(float(tensor.double().square().mean().sqrt()), _SMALLEST_SIZE)
