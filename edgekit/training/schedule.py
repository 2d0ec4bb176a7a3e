"""Course of the learning rate."""

from __future__ import annotations

import math

from edgekit.training.config import TrainConfig

_WARMUP_SHARE = 1 / 20


def rate_factor(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Factor on the learning rate at one optimizer step.

    With W steps of warm-up and N steps in all it is ``(step + 1) / W`` before ``W``, and
    from then on 1 (``"constant"``) or ``(1 + cos(pi * (step - W) / (N - W))) / 2``
    (``"cosine"``; Loshchilov and Hutter, SGDR, 2017).

    Args:
        step: Counted from 0 over the whole training.
        steps_per_epoch: Optimizer steps in one epoch.
        config: Options.
    """
    total = config.epochs * steps_per_epoch
    warmup_epochs = config.warmup_epochs
    if warmup_epochs is None:
        warmup_epochs = config.epochs * _WARMUP_SHARE
    warmup = min(round(warmup_epochs * steps_per_epoch), total - 1)
    if step < warmup:
        return (step + 1) / warmup
    if config.schedule == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / (total - warmup)))
