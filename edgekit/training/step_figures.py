"""Loss and hits of the steps of one epoch, looked at as seldom as the device wants it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgekit.errors import GateError
from edgekit.training.processes import Processes

_GPU_STEPS = 50
"""Steps of a GPU between two looks; each look waits until it has done all of them."""


@dataclass(frozen=True, slots=True)
class StepFigure:
    """One step, as its process saw it.

    Attributes:
        loss: Mean over its samples.
        hits: Number of samples that were right.
        samples: Number of samples.
        total: Number of samples in all processes.
        rate: Learning rate.
    """

    loss: Tensor
    hits: Tensor
    samples: int
    total: int
    rate: float


@dataclass(slots=True)
class StepFigures:
    """Adds up the steps of one epoch.

    Attributes:
        epoch: Its number, from 1.
        every: Steps between two looks.
        processes: Those that share the steps.
        losses: Mean loss of each step that was looked at.
        loss: Sum over the samples.
        hits: Number of samples that were right.
        samples: Number of samples.
        rate: Learning rate of the last step.
    """

    epoch: int
    every: int
    processes: Processes
    losses: list[float] = field(default_factory=list)
    loss: float = 0.0
    hits: int = 0
    samples: int = 0
    rate: float = 0.0
    _waiting: list[StepFigure] = field(default_factory=list)

    @classmethod
    def on(cls, device: torch.device, epoch: int, processes: Processes) -> StepFigures:
        """Looks at every step on a CPU, and now and then on a GPU."""
        return cls(epoch, _GPU_STEPS if device.type == "cuda" else 1, processes)

    def add(self, step: StepFigure) -> int:
        """Takes one step; gives how many have just been looked at.

        Raises:
            GateError: See `look`.
        """
        self._waiting.append(step)
        self.rate = step.rate
        return self.look() if len(self._waiting) >= self.every else 0

    def look(self) -> int:
        """Looks at all steps that wait for it, and gives how many those were.

        Raises:
            GateError: If a loss is NaN or infinite; names the first step with such a one.
        """
        steps, self._waiting = self._waiting, []
        if not steps:
            return 0
        for step, (loss, hits) in zip(steps, self._seen(steps), strict=True):
            if not math.isfinite(loss):
                raise GateError(self._diverged(loss, step.rate))
            self.losses.append(loss)
            self.loss += loss * step.total
            self.hits += hits
            self.samples += step.total
        return len(steps)

    def _seen(self, steps: list[StepFigure]) -> list[tuple[float, int]]:
        """Loss and hits of each step over all processes."""
        losses = torch.stack([step.loss.detach() for step in steps])
        hits = torch.stack([step.hits for step in steps])
        if self.processes.count > 1:
            shares = torch.tensor(
                [step.samples / step.total for step in steps], dtype=torch.float64
            )
            parts = torch.stack([losses.double() * shares.to(losses.device), hits.double()])
            losses, hits = self.processes.sum(parts)
        return [
            (float(loss), int(hit))
            for loss, hit in zip(losses.tolist(), hits.tolist(), strict=True)
        ]

    def _diverged(self, loss: float, rate: float) -> str:
        return (
            f"Training diverged: the loss is {loss} in epoch {self.epoch}, step "
            f"{len(self.losses) + 1} (learning rate {rate:.3g}). Lower train.lr, raise "
            "train.warmup_epochs or set train.clip_norm; if it happens in the first step, look "
            "for NaN in the weights or the data."
        )
