"""Supervised training of a classifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.run_summary import EpochPoint
from edgekit.errors import GateError, InputError
from edgekit.training.augment import Augmentation
from edgekit.training.config import TrainConfig
from edgekit.training.determinism import deterministic
from edgekit.training.optimizer import make_optimizer
from edgekit.training.samples import Samples
from edgekit.training.schedule import rate_factor

_EVALUATION_BATCH = 256


def train(
    model: nn.Module,
    samples: Samples,
    config: TrainConfig,
    seed: int,
    progress: Progress | None = None,
) -> tuple[EpochPoint, ...]:
    """Trains with cross-entropy; the same arguments give the same weights, bit by bit.

    Of a last batch that is not full the samples are left out in that epoch (a batch of one
    has no variance to normalise with), unless there is no other.

    Args:
        model: Gives one tensor of class scores ``[N, classes]``; trained in place and left
            in evaluation mode.
        samples: Training set, of which ``config.validation`` is kept back.
        config: Options.
        seed: Seed of order, augmentation and dropout.
        progress: Receives the steps of each epoch.

    Returns:
        One point an epoch.

    Raises:
        InputError: If the data does not fit the model.
        GateError: If the loss becomes NaN or infinite; names epoch and step.
    """
    with deterministic(seed, config.threads):
        return _Training(model, samples, config, seed, progress or SilentProgress()).run()


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
        self._training_set, self._validation_set = self._split()
        self._steps = max(1, len(self._training_set) // config.batch_size)
        self._optimizer = make_optimizer(model, config)
        self._schedule = LambdaLR(
            self._optimizer, lambda step: rate_factor(step, self._steps, config)
        )

    def run(self) -> tuple[EpochPoint, ...]:
        curve = tuple(self._epoch(number) for number in range(1, self._config.epochs + 1))
        self._model.eval()
        return curve

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
                loss, hits = self._step(inputs, labels)
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

    def _step(self, inputs: Tensor, labels: Tensor) -> tuple[float, int]:
        scores = class_scores(self._model, self._augment(inputs), labels)
        loss = functional.cross_entropy(
            scores, labels, label_smoothing=self._config.label_smoothing
        )
        value = float(loss.item())
        if math.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if self._config.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip_norm)
            self._optimizer.step()
            self._schedule.step()
        return value, _hits(scores, labels)

    def _validation_accuracy(self) -> float | None:
        if not len(self._validation_set):
            return None
        return accuracy(self._model, self._samples, self._validation_set.tolist())


def _hits(scores: Tensor, labels: Tensor) -> int:
    return int((scores.argmax(dim=1) == labels).sum())


def _diverged(loss: float, epoch: int, step: int, rate: float) -> str:
    return (
        f"Training diverged: the loss is {loss} in epoch {epoch}, step {step} (learning rate "
        f"{rate:.3g}). Lower train.lr, raise train.warmup_epochs or set train.clip_norm; if it "
        "happens in the first step, look for NaN in the weights or the data."
    )
