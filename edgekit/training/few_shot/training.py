"""Training on episodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim import AdamW

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.stage import StageConfig
from edgekit.errors import GateError, InputError
from edgekit.training.determinism import deterministic
from edgekit.training.few_shot.episodes import Episode, EpisodeSampler, EpisodeShape
from edgekit.training.optimizer import parameter_groups

type EpisodeLoss = Callable[[nn.Module, Episode], Tensor]
"""Scalar loss of a model on one episode: `prototypes.loss`, `matching.loss`, `Maml.loss`."""


class EpisodeTrainConfig(StageConfig):
    """How a model is trained on episodes."""

    episode: EpisodeShape = Field(
        default_factory=lambda: EpisodeShape(ways=20, shots=1, queries=5),
        description="Size of the training episodes.",
    )
    steps: int = Field(1000, ge=1, description="Optimizer steps.")
    episodes_per_step: int = Field(1, ge=1, description="Episodes whose losses are averaged.")
    lr: float = Field(2e-3, gt=0, description="Learning rate at the start; a cosine ends it at 0.")
    weight_decay: float = Field(
        0.01, ge=0, description="Decay of weights; normalisation and biases have none."
    )
    clip_norm: float | None = Field(
        10.0, gt=0, description="Largest norm of the gradient; longer ones are scaled down."
    )
    threads: int = Field(
        1, ge=1, description="Threads of torch; the weights are the same only for the same number."
    )


def train_on_episodes(
    model: nn.Module,
    loss: EpisodeLoss,
    inputs: Tensor,
    labels: npt.ArrayLike,
    config: EpisodeTrainConfig,
    seed: int,
    progress: Progress | None = None,
) -> tuple[float, ...]:
    """Trains with AdamW; the same arguments give the same weights, bit by bit.

    Args:
        model: Trained in place and left in evaluation mode.
        loss: Loss on one episode.
        inputs: Examples, ``[n, ...]``.
        labels: Their classes, ``int64[n]``.
        config: Options.
        seed: Seed of the episodes and of dropout.
        progress: Receives the steps.

    Returns:
        Loss of each step, before it was taken.

    Raises:
        InputError: If inputs and labels do not fit each other or an episode.
        GateError: If the loss or the gradient becomes NaN or infinite. The model then holds
            the last weights and buffers that gave finite ones.
    """
    count = len(torch.as_tensor(labels))
    if len(inputs) != count:
        raise InputError(f"{len(inputs)} examples do not go with {count} labels.")
    sampler = EpisodeSampler(labels, config.episode, seed)
    with deterministic(seed, config.threads):
        training = _Training(model, loss, inputs, sampler, config)
        return training.run(progress or SilentProgress())


@dataclass(frozen=True, slots=True)
class _State:
    """Weights and buffers before a step."""

    step: int
    tensors: dict[str, Tensor]


class _Training:
    """One training from start to end."""

    def __init__(
        self,
        model: nn.Module,
        loss: EpisodeLoss,
        inputs: Tensor,
        sampler: EpisodeSampler,
        config: EpisodeTrainConfig,
    ) -> None:
        self._model = model
        self._loss = loss
        self._inputs = inputs
        self._sampler = sampler
        self._config = config
        groups = parameter_groups(model, config.weight_decay)
        self._optimizer = AdamW(groups, lr=config.lr, foreach=False)

    def run(self, progress: Progress) -> tuple[float, ...]:
        losses: list[float] = []
        good = self._state(0)
        self._model.train()
        progress.start("episodes", self._config.steps)
        try:
            for step in range(self._config.steps):
                before = self._state(step)
                value = self._step(step)
                if not math.isfinite(value):
                    self._model.load_state_dict(good.tensors)
                    raise GateError(_diverged(value, step, good.step, self._config.lr))
                good = before
                losses.append(value)
                progress.advance(1, f"loss {value:.3f}")
        finally:
            progress.finish()
            self._model.eval()
        return tuple(losses)

    def _state(self, step: int) -> _State:
        tensors = {name: item.clone() for name, item in self._model.state_dict().items()}
        return _State(step, tensors)

    def _step(self, step: int) -> float:
        """Takes a step; gives the loss, or the norm of the gradient where that is not finite."""
        episodes = self._config.episodes_per_step
        self._optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for number in range(step * episodes, (step + 1) * episodes):
            episode = self._sampler.positions(number).gather(self._inputs)
            error = self._loss(self._model, episode) / episodes
            total += float(error.item())
            if not math.isfinite(total):
                return total
            torch.autograd.backward(error)
        largest = self._config.clip_norm
        norm = nn.utils.clip_grad_norm_(
            self._model.parameters(), math.inf if largest is None else largest
        )
        if not math.isfinite(float(norm)):
            return float(norm)
        rate = self._config.lr * 0.5 * (1.0 + math.cos(math.pi * step / self._config.steps))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        return total


def _diverged(value: float, step: int, good: int, rate: float) -> str:
    return (
        f"Training on episodes diverged: the loss or the norm of its gradient is {value} in step "
        f"{step + 1}; the model holds its state before step {good + 1}. Lower lr (now {rate:.3g}) "
        "or set clip_norm; if it happens in the first step, look for NaN in the weights or data."
    )
