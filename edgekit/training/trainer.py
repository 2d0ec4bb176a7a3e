"""Supervised training of a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.run_summary import EpochPoint
from edgekit.errors import GateError, InputError
from edgekit.training.augment import Augmentation
from edgekit.training.checkpoint import Checkpoint
from edgekit.training.config import TrainConfig
from edgekit.training.determinism import deterministic
from edgekit.training.keeping import BestEpoch, WeightMean
from edgekit.training.losses.classification import smoothed_cross_entropy
from edgekit.training.mixing import Mixing
from edgekit.training.optimizer import make_optimizer
from edgekit.training.progressive import growth, resized
from edgekit.training.samples import Samples
from edgekit.training.schedule import rate_factor

_EVALUATION_BATCH = 256


def train(
    model: nn.Module,
    samples: Samples,
    config: TrainConfig,
    seed: int,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> tuple[EpochPoint, ...]:
    """Trains with cross-entropy; the same arguments give the same weights, bit by bit.

    A training that was interrupted goes on from its last complete epoch, and ends with the
    weights that it would have had.

    Of a last batch that is not full the samples are left out in that epoch (a batch of one
    has no variance to normalise with), unless there is no other.

    Args:
        model: Gives one tensor of class scores ``[N, classes]``; trained in place and left
            in evaluation mode.
        samples: Training set, of which ``config.validation`` is kept back.
        config: Options.
        seed: Seed of order, augmentation and dropout.
        progress: Receives the steps of each epoch.
        folder: Where the state after each epoch is kept; None keeps nothing.

    Returns:
        One point an epoch.

    Raises:
        InputError: If the data does not fit the model.
        GateError: If the loss becomes NaN or infinite; names epoch and step. The state after the
            epoch before stays in ``folder``.
    """
    checkpoint = None
    if folder is not None:
        checkpoint = Checkpoint(folder, _identity(model, samples, config, seed))
    with deterministic(seed, config.threads):
        training = _Training(model, samples, config, seed, progress or SilentProgress())
        return training.run(checkpoint)


def _identity(
    model: nn.Module, samples: Samples, config: TrainConfig, seed: int
) -> dict[str, Any]:
    """What tells a training from all others, as JSON."""
    return {
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "samples": len(samples),
        "weights": {name: list(item.shape) for name, item in model.state_dict().items()},
    }


def accuracy(model: nn.Module, samples: Samples, order: Sequence[int]) -> float:
    """Share of the samples at ``order`` whose highest score is their class."""
    model.eval()
    hits = 0
    with torch.inference_mode():
        for inputs, labels in samples.batches(order, _EVALUATION_BATCH):
            hits += _hits(class_scores(model, inputs, labels), labels)
    return hits / len(order)


def class_scores(model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Runs the model and checks that it classifies.

    Raises:
        InputError: If it gives no ``[N, classes]``, or fewer classes than there are labels.
    """
    scores = model(inputs)
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != len(inputs):
        what = (
            f"a tensor of shape {list(scores.shape)}"
            if isinstance(scores, Tensor)
            else f"a {type(scores).__name__}"
        )
        raise InputError(
            f"Training needs a model that gives one tensor [N, classes]; this one gives {what} "
            f"for {len(inputs)} samples."
        )
    if int(labels.max()) >= scores.shape[1]:
        raise InputError(
            f"The model has {scores.shape[1]} classes, but the data set has class "
            f"{int(labels.max())}. Give the model as many outputs as there are classes."
        )
    return scores


@dataclass(slots=True)
class _Epoch:
    """Sums over the steps of one epoch."""

    loss: float = 0.0
    hits: int = 0
    samples: int = 0

    def add(self, loss: float, hits: int, samples: int) -> None:
        self.loss += loss * samples
        self.hits += hits
        self.samples += samples


class _Training:
    """One training from start to end."""

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        config: TrainConfig,
        seed: int,
        progress: Progress,
    ) -> None:
        self._model = model
        self._samples = samples
        self._config = config
        self._progress = progress
        self._order = torch.Generator().manual_seed(seed)
        self._augment = Augmentation(config, seed + 1)
        self._mix = Mixing(config.mixup, config.cutmix, seed + 2)
        self._training_set, self._validation_set = self._split()
        self._steps = max(1, len(self._training_set) // config.batch_size)
        self._optimizer = make_optimizer(model, config)
        self._schedule = LambdaLR(
            self._optimizer, lambda step: rate_factor(step, self._steps, config)
        )
        self._mean = None if config.ema is None else WeightMean(model, config.ema)
        self._curve: tuple[EpochPoint, ...] = ()
        self._classes = 0
        self._best = BestEpoch()

    def run(self, checkpoint: Checkpoint | None) -> tuple[EpochPoint, ...]:
        state = None if checkpoint is None else checkpoint.load()
        if state is not None:
            self._restore(state)
        while len(self._curve) < self._config.epochs and not self._is_over():
            self._curve += (self._epoch(len(self._curve) + 1),)
            if self._config.patience is not None:
                self._best.offer(self._curve[-1], self._kept().state_dict())
            if checkpoint is not None:
                checkpoint.save(self._state())
        self._finish()
        return self._curve

    def _is_over(self) -> bool:
        patience = self._config.patience
        return patience is not None and self._best.waited(len(self._curve)) >= patience

    def _kept(self) -> nn.Module:
        """The model whose weights are kept: the running mean where there is one."""
        return self._model if self._mean is None else self._mean.model

    def _finish(self) -> None:
        kept = self._best.state or self._kept().state_dict()
        self._model.load_state_dict(kept)
        self._model.eval()

    def _state(self) -> dict[str, Any]:
        """Everything that the next epoch depends on."""
        return {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "mean": None if self._mean is None else self._mean.state(),
            "best": self._best.saved(),
            "curve": [point.model_dump() for point in self._curve],
            "generators": [item.get_state() for item in self._generators()],
            "global": torch.get_rng_state(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        if self._mean is not None:
            self._mean.restore(state["mean"])
        self._best.restore(state["best"])
        self._curve = tuple(EpochPoint.model_validate(point) for point in state["curve"])
        for generator, saved in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(saved)
        torch.set_rng_state(state["global"])

    def _generators(self) -> tuple[torch.Generator, ...]:
        return self._order, self._augment.generator, self._mix.generator

    def _split(self) -> tuple[Tensor, Tensor]:
        count = len(self._samples)
        kept_back = round(count * self._config.validation)
        if count - kept_back < 2:
            raise InputError(
                f"{count} samples are too few to train with when train.validation keeps back "
                f"{kept_back}; at least 2 have to be left."
            )
        positions = torch.randperm(count, generator=self._order)
        return positions[kept_back:].sort().values, positions[:kept_back].sort().values

    def _epoch(self, number: int) -> EpochPoint:
        sums = _Epoch()
        self._model.train()
        shuffled = torch.randperm(len(self._training_set), generator=self._order)
        order = self._training_set[shuffled][: self._steps * self._config.batch_size]
        self._progress.start(f"epoch {number}/{self._config.epochs}", self._steps)
        try:
            batches = self._samples.batches(order.tolist(), self._config.batch_size)
            for step, (inputs, labels) in enumerate(batches, 1):
                rate = float(self._schedule.get_last_lr()[0])
                loss, hits = self._step(inputs, labels, number - 1)
                if not math.isfinite(loss):
                    raise GateError(_diverged(loss, number, step, rate))
                sums.add(loss, hits, len(labels))
                self._progress.advance(1, f"loss {loss:.3f}")
        finally:
            self._progress.finish()
        return EpochPoint(
            epoch=number,
            loss=sums.loss / sums.samples,
            train_accuracy=sums.hits / sums.samples,
            val_accuracy=self._validation_accuracy(),
            lr=rate,
        )

    def _step(self, inputs: Tensor, labels: Tensor, epoch: int) -> tuple[float, int]:
        grown = growth(epoch, self._config)
        images, targets = resized(self._augment(inputs), epoch, self._config), labels
        if self._config.mixup or self._config.cutmix:
            images, targets = self._mix(images, labels, self._count_classes(inputs, labels), grown)
        scores = class_scores(self._model, images, labels)
        smoothing = grown * self._config.label_smoothing
        loss = smoothed_cross_entropy(scores, targets, smoothing)
        value = float(loss.item())
        if math.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if self._config.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip_norm)
            self._optimizer.step()
            self._schedule.step()
            if self._mean is not None:
                self._mean.update(self._model)
        return value, _hits(scores, labels)

    def _count_classes(self, inputs: Tensor, labels: Tensor) -> int:
        """Classes that the model tells apart, asked once without leaving a trace in it."""
        if not self._classes:
            self._model.eval()
            with torch.inference_mode():
                self._classes = class_scores(self._model, inputs, labels).shape[1]
            self._model.train()
        return self._classes

    def _validation_accuracy(self) -> float | None:
        if not len(self._validation_set):
            return None
        return accuracy(self._kept(), self._samples, self._validation_set.tolist())


def _hits(scores: Tensor, labels: Tensor) -> int:
    return int((scores.argmax(dim=1) == labels).sum())


def _diverged(loss: float, epoch: int, step: int, rate: float) -> str:
    return (
        f"Training diverged: the loss is {loss} in epoch {epoch}, step {step} (learning rate "
        f"{rate:.3g}). Lower train.lr, raise train.warmup_epochs or set train.clip_norm; if it "
        "happens in the first step, look for NaN in the weights or the data."
    )
