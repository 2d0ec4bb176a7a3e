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
from edgekit.training.devices import MixedPrecision, chosen_device
from edgekit.training.keeping import BestEpoch, WeightMean
from edgekit.training.mixing import Mixing
from edgekit.training.objectives import LabelObjective, Objective, StepBatch, as_outputs
from edgekit.training.optimizer import make_optimizer
from edgekit.training.progressive import growth, resized
from edgekit.training.samples import Samples
from edgekit.training.schedule import rate_factor
from edgekit.training.teacher_cache import TeacherCache, cache_teacher, stays_the_same

_EVALUATION_BATCH = 256


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Course of a training.

    Attributes:
        curve: One point an epoch.
        kept_epoch: Epoch whose weights the model has, 0 for the state before training; None
            where it has those of the end.
    """

    curve: tuple[EpochPoint, ...]
    kept_epoch: int | None = None


def train(
    model: nn.Module,
    samples: Samples,
    config: TrainConfig,
    seed: int,
    progress: Progress | None = None,
    folder: Path | None = None,
    objective: Objective | None = None,
) -> TrainResult:
    """Trains a network; on a CPU the same arguments give the same weights, bit by bit.

    A training that was interrupted goes on from its last complete epoch, and ends with the
    weights that it would have had.

    Of a last batch that is not full the samples are left out in that epoch (a batch of one
    has no variance to normalise with), unless there is no other.

    Args:
        model: Gives one tensor of class scores ``[N, classes]``, or what the objective compares;
            trained in place, and left on the CPU in evaluation mode.
        samples: Training set, of which ``config.validation`` is kept back.
        config: Options.
        seed: Seed of order, augmentation and dropout.
        progress: Receives the steps of each epoch.
        folder: Where the state after each epoch is kept; None keeps nothing.
        objective: What is minimized; cross-entropy by default.

    Returns:
        Its course.

    Raises:
        InputError: If the data does not fit the model, or is of one class alone.
        MissingToolError: If a GPU is asked for and there is none.
        GateError: If the loss becomes NaN or infinite; names epoch and step. The state after the
            epoch before stays in ``folder``.
    """
    checkpoint = None
    if folder is not None:
        checkpoint = Checkpoint(folder, _identity(model, samples, config, seed))
    device = chosen_device(config)
    with deterministic(seed, config.threads, device):
        training = _Training(
            model.to(device), samples, config, seed, objective or LabelObjective(), device
        )
        try:
            return training.run(checkpoint, progress or SilentProgress())
        finally:
            model.to("cpu")


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
            hits += _hits(checked_scores(model(inputs), inputs, labels), labels)
    return hits / len(order)


def checked_scores(scores: object, inputs: Tensor, labels: Tensor) -> Tensor:
    """What a model gave for a batch, if it classifies.

    Raises:
        InputError: If it is no ``[N, classes]``, or has fewer classes than there are labels.
    """
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
        objective: Objective,
        device: torch.device,
    ) -> None:
        self._model = model
        self._samples = samples
        self._config = config
        self._objective = objective
        self._device = device
        self._precision = MixedPrecision(config, device)
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
        self._cache: TeacherCache | None = None

    def run(self, checkpoint: Checkpoint | None, progress: Progress) -> TrainResult:
        teacher = self._objective.teacher
        if teacher is not None and stays_the_same(self._config):
            folder = None if checkpoint is None else checkpoint.folder
            self._cache = cache_teacher(teacher, self._samples, self._device, progress, folder)
        state = None if checkpoint is None else checkpoint.load()
        if state is not None:
            self._restore(state)
        elif self._config.keep == "best":
            self._best.offer(self._start(), self._kept().state_dict())
        while len(self._curve) < self._config.epochs and not self._is_over():
            self._curve += (self._epoch(len(self._curve) + 1, progress),)
            if self._config.patience is not None or self._config.keep == "best":
                self._best.offer(self._curve[-1], self._kept().state_dict())
            if checkpoint is not None:
                checkpoint.save(self._state())
        self._finish()
        kept = None if self._best.state is None else self._best.epoch
        return TrainResult(self._curve, kept)

    def _start(self) -> EpochPoint:
        """The state before training, which may turn out to be the best."""
        accuracy, loss = self._validated()
        return EpochPoint(
            epoch=0, loss=math.inf, train_accuracy=None, val_accuracy=accuracy, lr=0, val_loss=loss
        )

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
            "scaler": self._precision.scaler.state_dict(),
            "mean": None if self._mean is None else self._mean.state(),
            "best": self._best.saved(),
            "curve": [point.model_dump() for point in self._curve],
            "generators": [item.get_state() for item in self._generators()],
            "global": torch.get_rng_state(),
            "gpu": torch.cuda.get_rng_state() if self._device.type == "cuda" else None,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._precision.scaler.load_state_dict(state["scaler"])
        if self._mean is not None:
            self._mean.restore(state["mean"])
        self._best.restore(state["best"])
        self._curve = tuple(EpochPoint.model_validate(point) for point in state["curve"])
        for generator, saved in zip(self._generators(), state["generators"], strict=True):
            generator.set_state(saved)
        torch.set_rng_state(state["global"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state["gpu"])

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

    def _epoch(self, number: int, progress: Progress) -> EpochPoint:
        sums = _Epoch()
        self._model.train()
        shuffled = torch.randperm(len(self._training_set), generator=self._order)
        order = self._training_set[shuffled][: self._steps * self._config.batch_size]
        progress.start(f"epoch {number}/{self._config.epochs}", self._steps)
        try:
            batches = self._samples.batches(order.tolist(), self._config.batch_size)
            for step, (inputs, labels) in enumerate(batches, 1):
                rate = float(self._schedule.get_last_lr()[0])
                place = (step - 1) * self._config.batch_size
                positions = order[place : place + len(labels)].tolist()
                loss, hits = self._step(inputs, labels, positions, number - 1)
                if not math.isfinite(loss):
                    raise GateError(_diverged(loss, number, step, rate))
                sums.add(loss, hits, len(labels))
                progress.advance(1, f"loss {loss:.3f}")
        finally:
            progress.finish()
        accuracy, val_loss = self._validated()
        return EpochPoint(
            epoch=number,
            loss=sums.loss / sums.samples,
            train_accuracy=sums.hits / sums.samples if self._objective.classifies else None,
            val_accuracy=accuracy,
            lr=rate,
            val_loss=val_loss,
        )

    def _step(
        self, inputs: Tensor, labels: Tensor, positions: list[int], epoch: int
    ) -> tuple[float, int]:
        grown = growth(epoch, self._config)
        images, targets = resized(self._augment(inputs), epoch, self._config), labels
        if self._config.mixup or self._config.cutmix:
            images, targets = self._mix(images, labels, self._count_classes(inputs, labels), grown)
        images, labels = images.to(self._device), labels.to(self._device)
        with self._precision.products():
            outputs = self._outputs(self._model, images, labels)
        batch = self._with_teacher(images, targets.to(self._device), positions)
        loss = self._objective.loss(outputs, batch, grown * self._config.label_smoothing)
        value = float(loss.item())
        if math.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            self._precision.step(loss, self._optimizer, self._model, self._config.clip_norm)
            self._schedule.step()
            if self._mean is not None:
                self._mean.update(self._model)
        return value, _hits(outputs[0], labels) if self._objective.classifies else 0

    def _outputs(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The model's outputs in float32, the first of which are class scores if it classifies."""
        found = model(inputs)
        several = found if isinstance(found, (tuple, list)) else (found,)
        if self._objective.classifies:
            alone = self._objective.teacher is None
            checked_scores(found if alone else several[0], inputs, labels)
        return tuple(item.float() for item in as_outputs(several))

    def _with_teacher(self, inputs: Tensor, targets: Tensor, positions: list[int]) -> StepBatch:
        teacher = self._objective.teacher
        if teacher is None:
            return StepBatch(inputs, targets)
        if self._cache is not None:
            return StepBatch(inputs, targets, self._cache.outputs(positions, self._device))
        with self._precision.products():
            wanted = teacher(inputs)
        return StepBatch(inputs, targets, tuple(item.float() for item in wanted))

    def _count_classes(self, inputs: Tensor, labels: Tensor) -> int:
        """Classes that the model tells apart, asked once without leaving a trace in it."""
        if not self._classes:
            self._model.eval()
            with torch.inference_mode():
                outputs = self._outputs(self._model, inputs.to(self._device), labels)
            self._classes = outputs[0].shape[1]
            self._model.train()
        return self._classes

    def _validated(self) -> tuple[float | None, float | None]:
        """Accuracy and mean loss on the samples kept back."""
        order = self._validation_set.tolist()
        if not order:
            return None, None
        model, hits, total = self._kept(), 0, 0.0
        model.eval()
        batches = self._samples.batches(order, _EVALUATION_BATCH)
        done = 0
        with torch.no_grad():
            for inputs, labels in batches:
                positions = order[done : done + len(labels)]
                done += len(labels)
                images, targets = inputs.to(self._device), labels.to(self._device)
                with self._precision.products():
                    outputs = self._outputs(model, images, targets)
                batch = self._with_teacher(images, targets, positions)
                total += float(self._objective.loss(outputs, batch, 0.0)) * len(labels)
                hits += _hits(outputs[0], targets) if self._objective.classifies else 0
        loss = total / len(order)
        return (hits / len(order) if self._objective.classifies else None), loss


def _hits(scores: Tensor, labels: Tensor) -> int:
    return int((scores.argmax(dim=1) == labels).sum())


def _diverged(loss: float, epoch: int, step: int, rate: float) -> str:
    return (
        f"Training diverged: the loss is {loss} in epoch {epoch}, step {step} (learning rate "
        f"{rate:.3g}). Lower train.lr, raise train.warmup_epochs or set train.clip_norm; if it "
        "happens in the first step, look for NaN in the weights or the data."
    )
