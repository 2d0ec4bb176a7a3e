"""Course of the learning rate."""

from __future__ import annotations

import math

from edgekit.training.config import TrainConfig

_WARMUP_SHARE = 1 / 20


def rate_factor(step: int, steps_per_epoch: int, config: TrainConfig) -> float:
    """Factor on the learning rate at one optimizer step.

    With W steps of warm-up and N steps in all it is ``(step + 1) / W`` before ``W``. From then
    on, with ``t = step - W``:

    - ``"constant"``: 1.
    - ``"cosine"``: ``(1 + cos(pi * t / (N - W))) / 2`` (Loshchilov and Hutter, SGDR, 2017).
    - ``"restarts"``: the same over a period of its own, which grows from one to the next (SGDR).
    - ``"step"``: ``step_factor ^ floor(t / step_epochs)``, counted in steps.

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
    after = step - warmup
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "step":
        period = max(1, round(config.step_epochs * steps_per_epoch))
        return config.step_factor ** (after // period)
    if config.schedule == "restarts":
        return _cosine(*_period(after, config.restart_epochs * steps_per_epoch, config))
    return _cosine(after, total - warmup)


def _cosine(step: float, steps: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * step / steps))


def _period(step: int, first: float, config: TrainConfig) -> tuple[float, float]:
    """Place within the running period, and its length."""
    begin, length = 0.0, max(1.0, first)
    while step >= begin + length:
        begin, length = begin + length, length * config.restart_growth
    return step - begin, length
