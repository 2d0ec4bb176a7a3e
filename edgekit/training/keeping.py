"""Which weights of a training are kept: a running mean, or those of the best epoch."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core.run_summary import EpochPoint


class WeightMean:
    """Exponential running mean of a model's weights: ``m = d m + (1 - d) w`` after each step.

    Early on the decay is smaller, ``min(d, (1 + n) / (10 + n))`` after n steps, so that the first
    weights do not stay (as TensorFlow's ExponentialMovingAverage has it). Buffers that are no
    floats, and statistics of normalisations, are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Starts from the model's present weights.

        Args:
            model: Not modified.
            decay: Above 0 and below 1.
        """
        self.model = copy.deepcopy(model)
        self.model.requires_grad_(False)
        self._decay = decay
        self._steps = 0

    def update(self, model: nn.Module) -> None:
        """Takes in the weights after one step."""
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        with torch.no_grad():
            for own, new in zip(self.model.parameters(), model.parameters(), strict=True):
                own.lerp_(new, 1 - decay)
            for held, latest in zip(self.model.buffers(), model.buffers(), strict=True):
                held.copy_(latest)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"model": self.model.state_dict(), "steps": self._steps}

    def restore(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.model.load_state_dict(state["model"])
        self._steps = state["steps"]


class BestEpoch:
    """Weights of the epoch that does best on the samples kept back.

    That is the one with the highest accuracy, or without labels the one with the lowest loss.
    """

    def __init__(self) -> None:
        self.state: dict[str, Tensor] | None = None
        self.epoch = 0
        self._score = -math.inf

    def offer(self, point: EpochPoint, state: dict[str, Tensor]) -> None:
        """Takes the weights of an epoch if it is better than all before."""
        reached = point.val_accuracy
        if reached is None:
            reached = -math.inf if point.val_loss is None else -point.val_loss
        if self.state is None or reached > self._score:
            self.state = {name: item.detach().clone() for name, item in state.items()}
            self._score, self.epoch = reached, point.epoch

    def waited(self, epochs: int) -> int:
        """Epochs since the best one."""
        return epochs - self.epoch

    def saved(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"state": self.state, "score": self._score, "epoch": self.epoch}

    def restore(self, saved: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.state, self._score = saved["state"], saved["score"]
        self.epoch = saved["epoch"]
