"""The optimizer of quantization-aware training."""

from __future__ import annotations

from typing import Any

from torch.optim import SGD, AdamW, Optimizer

from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.fake_quantize import TrainableFakeQuantize

_MOMENTUM = 0.9


def make_qat_optimizer(
    twin: TorchTwin, quantizers: list[TrainableFakeQuantize], config: QatConfig
) -> Optimizer:
    """AdamW or SGD with Nesterov momentum; scales have their own rate and no decay.

    Args:
        twin: Holds weights, biases and quantizers.
        quantizers: All of them, each once.
        config: Options.
    """
    scales = [quantizer.log_factor for quantizer in quantizers if not quantizer.fixed]
    known = {id(quantizer.log_factor) for quantizer in quantizers}
    weights = [item for item in twin.parameters() if id(item) not in known]
    groups: list[dict[str, Any]] = [
        {"params": [item for item in weights if item.ndim > 1]},
        {"params": [item for item in weights if item.ndim <= 1], "weight_decay": 0.0},
        {"params": scales, "weight_decay": 0.0, "lr": config.scale_lr},
    ]
    groups = [group for group in groups if group["params"]]
    # foreach=False: the loop over tensors, whose order of additions does not depend on how
    # torch batches them.
    if config.optimizer == "adamw":
        return AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, foreach=False)
    return SGD(
        groups, lr=config.lr, momentum=_MOMENTUM, nesterov=True,
        weight_decay=config.weight_decay, foreach=False,
    )  # fmt: skip
