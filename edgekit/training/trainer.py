"""Training of a network, by one process or by several that share each step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.run_summary import EpochPoint
from edgekit.errors import GateError
from edgekit.training.checkpoint import Checkpoint
from edgekit.training.config import TrainConfig
from edgekit.training.determinism import deterministic
from edgekit.training.devices import MixedPrecision, chosen_device, moved
from edgekit.training.keeping import BestEpoch, WeightMean
from edgekit.training.kept_zeros import keep_zeros
from edgekit.training.objectives import (
    LabelObjective,
    Objective,
    StepBatch,
    as_outputs,
    label_loss_of,
)
from edgekit.training.optimizer import make_optimizer
from edgekit.training.processes import Processes, current_processes
from edgekit.training.pruning.regularization import bn_l1
from edgekit.training.samples import HeldSamples, Samples
from edgekit.training.schedule import rate_factor
from edgekit.training.scores import (
    EVALUATION_BATCH,
    accuracy,
    checked_scores,
    count_hits,
    require_classes,
)
from edgekit.training.step_batches import DrawnBatch, StepBatches
from edgekit.training.step_figures import StepFigure, StepFigures
from edgekit.training.synchronised_norms import running_statistics
from edgekit.training.teacher_cache import TeacherCache, cache_teacher, stays_the_same
from edgekit.training.tensorboard import Metrics, open_metrics

__all__ = ["TrainResult", "accuracy", "train"]


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
    *,
    zeros_stay: bool = False,
) -> TrainResult:
    """Trains a network; on a CPU the same arguments give the same weights, bit by bit.

    A training that was interrupted goes on from its last complete epoch, and ends with the
    weights that it would have had. Of a last batch that is not full the samples are left out in
    that epoch (a batch of one has no variance to normalise with), unless there is no other.

    Within `edgekit.training.distributed.joined` all processes have to call this alike, and each
    step is divided among them; the first one alone writes and tells of progress.

    Args:
        model: Gives one tensor of class scores ``[N, classes]``, or what the objective compares;
            trained in place, and left on the CPU in evaluation mode.
        samples: Training set, of which ``config.validation`` is kept back.
        config: Options.
        seed: Seed of order, augmentation and dropout.
        progress: Receives the steps of each epoch.
        folder: Where the state after each epoch is kept; None keeps nothing.
        objective: What is minimized; the loss of labels that ``config`` names by default.
        zeros_stay: Weights of a sparse network that are 0 stay 0 (`kept_zeros`).

    Returns:
        Its course.

    Raises:
        InputError: If the data does not fit the model, or is of one class alone.
        ConfigError: If a step has fewer samples than there are processes.
        MissingToolError: If a GPU is asked for and there is none, or TensorBoard is.
        UnsupportedError: If ``config.bn_l1`` is set and the model has no BatchNorm.
        GateError: If the loss becomes NaN or infinite; names epoch and step. The state after the
            epoch before stays in ``folder``, and its weights are written beside it. Those of
            the model itself are of no use then.
    """
    processes = current_processes()
    device = chosen_device(config)
    checkpoint = None
    if folder is not None and not processes.rank:
        checkpoint = Checkpoint(folder, _identity(model, samples, config, seed))
    objective = objective or LabelObjective(label_loss=label_loss_of(config))
    task = _Task(samples, config, seed, objective, device, processes, zeros_stay)
    own_seed = seed + processes.rank  # dropout differs between the shares of a batch
    with ExitStack() as stack:
        stack.enter_context(deterministic(own_seed, config.threads, device))
        stack.callback(model.to, "cpu")
        network = stack.enter_context(processes.wrapped(model.to(device)))
        training = _Training(model, network, task)
        metrics = open_metrics(None if processes.rank else config.tensorboard)
        stack.callback(metrics.close)
        shown = SilentProgress() if processes.rank or progress is None else progress
        return training.run(checkpoint, shown, metrics)


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


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be trained with, and where."""

    samples: Samples
    config: TrainConfig
    seed: int
    objective: Objective
    device: torch.device
    processes: Processes
    zeros_stay: bool


class _Training:
    """One training from start to end."""

    def __init__(self, model: nn.Module, network: nn.Module, task: _Task) -> None:
        """Prepares everything.

        Args:
            model: Holds the weights.
            network: The model as it is run in a step.
            task: What it is trained with.
        """
        self._model = model
        self._network = network
        self._config = task.config
        self._objective = task.objective
        self._device = task.device
        self._processes = task.processes
        self._precision = MixedPrecision(task.config, task.device)
        self._batches = StepBatches(
            task.samples, task.config, task.seed, task.device, task.processes
        )
        self._steps = self._batches.steps
        if task.config.bn_l1:
            bn_l1(model, task.config.bn_l1)  # refuses a model that it would do nothing to
        self._optimizer = make_optimizer(model, task.config)
        if task.zeros_stay:
            keep_zeros(model, self._optimizer)
        self._schedule = LambdaLR(
            self._optimizer, lambda step: rate_factor(step, self._steps, task.config)
        )
        self._mean = None if task.config.ema is None else WeightMean(model, task.config.ema)
        self._curve: tuple[EpochPoint, ...] = ()
        self._classes = 0
        self._best = BestEpoch()
        self._cache: TeacherCache | None = None
        self._labels_seen: list[Tensor] = []
        if self._objective.classifies and isinstance(task.samples, HeldSamples):
            require_classes(task.samples.labels[self._batches.training])

    def run(
        self, checkpoint: Checkpoint | None, progress: Progress, metrics: Metrics
    ) -> TrainResult:
        teacher = self._objective.teacher
        samples = self._batches.samples
        remembered = self._objective.remembers_teacher and stays_the_same(self._config)
        if teacher is not None and remembered:
            folder = None if checkpoint is None else checkpoint.folder
            self._cache = cache_teacher(teacher, samples, self._device, progress, folder)
        state = self._processes.from_first(
            lambda: None if checkpoint is None else checkpoint.load()
        )
        if state is not None:
            self._restore(state)
        elif self._config.keep == "best":
            self._best.offer(self._start(), self._kept().state_dict())
        metrics.begin(len(self._curve) * self._steps)
        while len(self._curve) < self._config.epochs and not self._is_over():
            number = len(self._curve) + 1
            try:
                figures = self._epoch(number, progress)
            except GateError as error:
                raise GateError(f"{error}{_last_good(checkpoint, number - 1)}") from error
            self._curve += (self._point(figures),)
            metrics.write(self._curve[-1], figures.losses)
            if self._config.patience is not None or self._config.keep == "best":
                self._best.offer(self._curve[-1], self._kept().state_dict())
            self._save(checkpoint)
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

    def _save(self, checkpoint: Checkpoint | None) -> None:
        """Keeps everything that the next epoch depends on."""
        gpu = torch.cuda.get_rng_state() if self._device.type == "cuda" else None
        own, *others = self._processes.gathered((torch.get_rng_state(), gpu))
        if checkpoint is None:
            return
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._precision.scaler.state_dict(),
            "mean": None if self._mean is None else self._mean.state(),
            "best": self._best.saved(),
            "curve": [point.model_dump() for point in self._curve],
            "generators": [item.get_state() for item in self._batches.generators],
            "global": own[0],
            "gpu": own[1],
            "others": others,
        }
        checkpoint.save(state)

    def _restore(self, state: dict[str, Any]) -> None:
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._precision.scaler.load_state_dict(state["scaler"])
        if self._mean is not None:
            self._mean.restore(state["mean"])
        self._best.restore(state["best"])
        self._curve = tuple(EpochPoint.model_validate(point) for point in state["curve"])
        for generator, saved in zip(self._batches.generators, state["generators"], strict=True):
            generator.set_state(saved)
        own = [(state["global"], state["gpu"]), *state.get("others", ())]
        # Begun with fewer processes, the others draw from where their own seed begins.
        if self._processes.rank < len(own):
            cpu, gpu = own[self._processes.rank]
            torch.set_rng_state(cpu)
            if self._device.type == "cuda" and gpu is not None:
                torch.cuda.set_rng_state(gpu)

    def _epoch(self, number: int, progress: Progress) -> StepFigures:
        self._model.train()
        figures = StepFigures.on(self._device, number, self._processes)
        progress.start(f"epoch {number}/{self._config.epochs}", self._steps)
        try:
            for batch in self._batches.epoch(number - 1, self._count_classes):
                self._note_labels(batch.labels)
                rate = float(self._schedule.get_last_lr()[0])
                seen = self._step(batch, figures, rate)
                if seen:
                    progress.advance(seen, f"loss {figures.losses[-1]:.3f}")
            if seen := figures.look():
                progress.advance(seen, f"loss {figures.losses[-1]:.3f}")
        finally:
            progress.finish()
        self._require_classes()
        self._processes.average(self._statistics())
        return figures

    def _point(self, figures: StepFigures) -> EpochPoint:
        accuracy, val_loss = self._validated()
        classifies = self._objective.classifies
        return EpochPoint(
            epoch=figures.epoch,
            loss=figures.loss / figures.samples,
            train_accuracy=figures.hits / figures.samples if classifies else None,
            val_accuracy=accuracy,
            lr=figures.rate,
            val_loss=val_loss,
        )

    def _step(self, batch: DrawnBatch, figures: StepFigures, rate: float) -> int:
        """One step; gives how many steps' figures have been looked at."""
        with self._precision.products():
            outputs = self._outputs(self._network, batch.inputs, batch.labels)
        given = self._with_teacher(batch.inputs, batch.targets, batch.positions)
        loss = self._objective.loss(outputs, given, batch.smoothing)
        if self._config.bn_l1:
            loss = loss + bn_l1(self._model, self._config.bn_l1)
        labels = batch.labels if batch.targets.ndim > 1 else batch.targets
        hits = self._hits(outputs, moved(labels, self._device))
        count = len(batch.labels)
        # On a CPU a loss that is not finite is seen before it changes the weights.
        seen = figures.add(StepFigure(loss.detach(), hits, count, batch.total, rate))
        self._optimizer.zero_grad(set_to_none=True)
        # Processes take the mean of their gradients, also where their shares are not equal.
        share = count * self._processes.count / batch.total
        scaled = loss if share == 1 else loss * share
        self._precision.step(scaled, self._optimizer, self._model, self._config.clip_norm)
        self._precision.advance(self._schedule)
        if self._mean is not None:
            self._mean.update(self._model)
        return seen

    def _hits(self, outputs: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        if not self._objective.classifies:
            return torch.zeros((), dtype=torch.int64, device=self._device)
        return count_hits(outputs[0], labels)

    def _note_labels(self, labels: Tensor) -> None:
        """Remembers which classes there are in a set that cannot be looked at as a whole."""
        if self._objective.classifies and not self._curve:
            self._labels_seen.append(torch.stack(torch.aminmax(labels)))

    def _require_classes(self) -> None:
        if self._labels_seen:
            seen = torch.cat(self._labels_seen)
            self._labels_seen = []
            require_classes(torch.cat(self._processes.gathered(seen)))

    def _statistics(self) -> Iterator[Tensor]:
        """Running statistics, which each process has taken from its own share."""
        yield from running_statistics(self._model)
        if self._mean is not None:
            yield from running_statistics(self._mean.model)

    def _outputs(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """The model's outputs in float32, the first of which are class scores if it classifies."""
        found = model(inputs)
        several = found if isinstance(found, (tuple, list)) else (found,)
        if self._objective.classifies:
            alone = self._objective.teacher is None
            checked_scores(found if alone else several[0], len(inputs), labels)
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
                outputs = self._outputs(self._model, inputs, labels)
            self._classes = outputs[0].shape[1]
            self._model.train()
        return self._classes

    def _validated(self) -> tuple[float | None, float | None]:
        """Accuracy and mean loss on the samples kept back."""
        kept_back = self._batches.kept_back.tolist()
        if not kept_back:
            return None, None
        order = kept_back[self._processes.rank :: self._processes.count]
        model, done = self._kept(), 0
        model.eval()
        losses: list[Tensor] = []
        hits: list[Tensor] = []
        sizes: list[int] = []
        with torch.no_grad():
            for inputs, labels in self._batches.samples.batches(order, EVALUATION_BATCH):
                positions = order[done : done + len(labels)]
                done += len(labels)
                images, targets = moved(inputs, self._device), moved(labels, self._device)
                with self._precision.products():
                    outputs = self._outputs(model, images, labels)
                batch = self._with_teacher(images, targets, positions)
                losses.append(self._objective.loss(outputs, batch, 0.0))
                hits.append(self._hits(outputs, targets))
                sizes.append(len(labels))
        right, loss = self._summed(losses, hits, sizes)
        count = len(kept_back)
        return (right / count if self._objective.classifies else None), loss / count

    def _summed(
        self, losses: list[Tensor], hits: list[Tensor], sizes: list[int]
    ) -> tuple[int, float]:
        """Hits and the sum of the samples' losses over all batches and processes."""
        right, total = 0, 0.0
        if sizes:
            right = int(torch.stack(hits).sum())
            for loss, size in zip(torch.stack(losses).tolist(), sizes, strict=True):
                total += loss * size
        if self._processes.count > 1:
            found = torch.tensor([right, total], dtype=torch.float64, device=self._device)
            right, total = self._processes.sum(found).tolist()
        return int(right), total


def _last_good(checkpoint: Checkpoint | None, epoch: int) -> str:
    """Writes the weights of the last good epoch, and says where they are."""
    if checkpoint is None or not epoch:
        return ""
    path = checkpoint.write_weights("last_good.safetensors")
    return f" The weights after epoch {epoch} are kept in {path}."
