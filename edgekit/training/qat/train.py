"""Quantization-aware training of a torch twin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.quant import ScaleFormat
from edgekit.core.run_summary import QatEpoch
from edgekit.errors import GateError, InputError
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.augment import Augmentation
from edgekit.training.checkpoint import Checkpoint
from edgekit.training.config import TrainConfig
from edgekit.training.determinism import deterministic
from edgekit.training.qat.batching import batch_runner
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.course import Best, Course, Machinery, identity_of
from edgekit.training.qat.fake_quantize import (
    QuantizerOptions,
    TrainableFakeQuantize,
    rounded_to_format,
)
from edgekit.training.qat.fusion import fused_graph
from edgekit.training.qat.losses import QatLoss, Score, ScoreSums, VarianceSums
from edgekit.training.qat.result import QatResult
from edgekit.training.qat.samples import UNLABELLED, QatSamples, as_inputs
from edgekit.training.qat.task import LabelFacts, choose_task

_EVALUATION_BATCH = 256


def train_qat(
    twin: TorchTwin,
    samples: QatSamples,
    config: QatConfig,
    *,
    teacher: TorchTwin | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoints: Path | None = None,
) -> QatResult:
    """Fine-tunes weights and scales of a quantized graph; the same arguments give the same.

    A share of the samples is kept back. The epoch that does best on it is kept, and that may
    be the state before training; the samples of a test set have no business here.

    Args:
        twin: Made from a QDQ graph; trained in place and left in evaluation mode. Scales that
            ``config.scale_format`` does not represent are rounded before anything else.
        samples: Training set.
        config: Options; ``task = "auto"`` classifies where the samples have labels and the
            model gives class scores.
        teacher: The float graph's twin; not modified. Needed for ``task = "imitate"``.
        seed: Seed of order and augmentation.
        progress: Receives the steps of each epoch.
        checkpoints: Folder that holds the state after the last complete epoch. A training that
            was interrupted goes on from there, and ends with the same bits.

    Raises:
        InputError: If the twin has no quantizers, or data, teacher and model do not fit.
        GateError: If the loss becomes NaN or infinite, or what the model could do is lost;
            names the epoch. The twin is then as it was before.
    """
    require_quantizers(twin)
    round_scales(twin, config.scale_format or "float32")
    config = _settled_task(twin, samples, config)
    _check(twin, samples, config, teacher)
    with deterministic(seed, config.threads):
        training = _Training(twin, samples, config, teacher, seed)
        return training.run(progress or SilentProgress(), checkpoints)


def require_quantizers(twin: TorchTwin) -> None:
    """Refuses a twin of a float graph.

    Raises:
        InputError: If it is one.
    """
    if not twin.quantizers():
        raise InputError(
            "The graph has no QuantizeLinear/DequantizeLinear pairs to train; quantize it first"
        )


def round_scales(twin: TorchTwin, scale_format: ScaleFormat) -> None:
    """Rounds the scales of a twin, in place, but for those that kernels demand as they are."""
    for quantizer in twin.quantizers().values():
        if not quantizer.fixed:
            quantizer.scale.copy_(rounded_to_format(quantizer.scale, scale_format))


def make_trainable(twin: TorchTwin, config: QatConfig) -> None:
    """Puts quantizers that observe and learn into a twin, and lets them clamp as well.

    Args:
        twin: Changed in place.
        config: Says which quantizers learn what.
    """

    def trainable(quantizer: FakeQuantize) -> FakeQuantize:
        weights = quantizer.role == "weight"
        source = config.weight_scales if weights else config.activation_ranges
        options = QuantizerOptions(
            source, config.observer_momentum, config.scale_format or "float32"
        )
        return TrainableFakeQuantize(quantizer, options)

    twin.replace_quantizers(trainable)
    twin.graph_module = fused_graph(twin.graph_module)


def _settled_task(twin: TorchTwin, samples: QatSamples, config: QatConfig) -> QatConfig:
    labels = next(iter(samples.batches([0], 1)))[1] if len(samples) else torch.empty(0)
    labelled = bool((labels != UNLABELLED).all()) and len(labels) > 0
    facts = LabelFacts("the training set", 2 if labelled else 0)
    task = choose_task(config.task, twin.signature, facts).task
    return config.model_copy(update={"task": task})


def _check(
    twin: TorchTwin, samples: QatSamples, config: QatConfig, teacher: TorchTwin | None
) -> None:
    if config.task == "imitate" and teacher is None:
        raise InputError("task = 'imitate' needs the float model that is to be imitated")
    if teacher is not None:
        ours, theirs = (
            [(spec.name, spec.shape) for spec in item.signature.outputs]
            for item in (twin, teacher)
        )
        if ours != theirs:
            raise InputError(
                f"The float model's outputs {theirs} are not those of the quantized one, {ours}"
            )
    held_out = round(len(samples) * config.validation)
    if held_out < 1 or len(samples) - held_out < 1:
        raise InputError(
            f"{len(samples)} samples cannot be divided into a training set and a share of "
            f"{config.validation:g} kept back; give more samples"
        )


class _Training:
    """One training from start to end."""

    def __init__(
        self,
        twin: TorchTwin,
        samples: QatSamples,
        config: QatConfig,
        teacher: TorchTwin | None,
        seed: int,
    ) -> None:
        self._twin = twin
        self._samples = samples
        self._config = config
        self._seed = seed
        self._teacher = teacher
        self._order = torch.Generator().manual_seed(seed)
        self._augment = Augmentation(
            TrainConfig(shift_px=config.shift_px, flip=config.flip), seed + 1
        )
        self._runner = batch_runner((twin, *([] if teacher is None else [teacher])), samples)
        positions = torch.randperm(len(samples), generator=self._order)
        held_out = round(len(samples) * config.validation)
        self._held_out = positions[:held_out].sort().values.tolist()
        self._training_set = positions[held_out:].sort().values
        # A step holds whole batches of a model whose batch is fixed.
        piece = self._runner.piece(min(config.batch_size, len(self._training_set)))
        self._batch = math.ceil(config.batch_size / piece) * piece
        self._piece = self._runner.piece(self._batch)
        self._steps = max(1, len(self._training_set) // self._batch)
        self._loss = self._make_loss()

    def _make_loss(self) -> QatLoss:
        """The loss; outputs that are imitated are measured by the float model's variance."""
        config, teacher = self._config, self._teacher
        if config.task == "classify" or teacher is None:
            return QatLoss(config, self._twin, distils=teacher is not None)
        sums = VarianceSums()
        for outputs, _, _ in self._evaluated(teacher):
            sums.add(outputs)
        return QatLoss(config, self._twin, distils=True, variances=sums.variances())

    def run(self, progress: Progress, folder: Path | None) -> QatResult:
        twin, original = self._twin, self._twin.graph_module
        before = {name: item.clone() for name, item in twin.state_dict().items()}
        checkpoint = None
        if folder is not None:
            identity = identity_of(self._config, self._seed, len(self._samples), before)
            checkpoint = Checkpoint(folder, identity)
        start = self._score(twin)
        teacher_score = None
        if self._teacher is not None and self._config.task == "classify":
            teacher_score = self._score(self._teacher).value
        try:
            make_trainable(twin, self._config)
            course = self._epochs(Course.of(start), progress, checkpoint)
        except BaseException:
            _settle(twin, original)
            twin.load_state_dict(before)
            raise
        best = course.best
        _settle(twin, original)
        twin.load_state_dict(before if best is None else best.state)
        twin.eval()
        return QatResult(
            twin=twin,
            curve=tuple(course.curve),
            best_epoch=0 if best is None else best.epoch,
            teacher_score=teacher_score,
            held_out=len(self._held_out),
            task="classify" if self._loss.classifies else "imitate",
        )

    def _epochs(self, course: Course, progress: Progress, checkpoint: Checkpoint | None) -> Course:
        machinery = Machinery.of(
            self._twin, self._config, self._steps, (self._order, self._augment.generator)
        )
        saved = None if checkpoint is None else checkpoint.load()
        if saved is not None:
            course = machinery.resume(saved)
        for epoch in range(len(course.curve), self._config.epochs + 1):
            loss, rate = self._epoch(epoch, machinery, progress)
            score = self._score(self._twin)
            course.curve.append(
                QatEpoch(
                    epoch=epoch, loss=loss, score=score.value, held_out_loss=score.loss, lr=rate
                )
            )
            if score.has_collapsed(course.start, self._config):
                raise GateError(_collapsed(course, epoch, self._config))
            if course.improves(score) or self._config.keep == "last":
                course.best_score = score
                course.best = Best(epoch, _settled_state(self._twin))
            if checkpoint is not None:
                checkpoint.save(machinery.state(course))
        return course

    def _epoch(self, number: int, machinery: Machinery, progress: Progress) -> tuple[float, float]:
        """Trains one epoch; gives the mean loss and the last learning rate."""
        self._twin.train()
        total, count, rate = 0.0, 0, 0.0
        progress.start(f"QAT epoch {number}/{self._config.epochs}", self._steps)
        try:
            for step, positions in enumerate(self._steps_of_epoch(), 1):
                machinery.phases.before_step()
                rate = machinery.rate(self._config)
                loss = self._step(positions, machinery)
                if not math.isfinite(loss):
                    raise GateError(_diverged(loss, number, step, rate))
                machinery.schedule.step()
                machinery.phases.after_step()
                total, count = total + loss * len(positions), count + len(positions)
                progress.advance(1, f"loss {loss:.3f}")
        finally:
            progress.finish()
        return total / count, rate

    def _steps_of_epoch(self) -> Iterator[list[int]]:
        shuffled = torch.randperm(len(self._training_set), generator=self._order)
        order = self._training_set[shuffled][: self._steps * self._batch].tolist()
        for first in range(0, len(order), self._batch):
            yield order[first : first + self._batch]

    def _step(self, positions: Sequence[int], machinery: Machinery) -> float:
        """One step of the optimizer; the gradients of several runs are added up."""
        machinery.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for batch, labels in self._samples.batches(positions, self._piece):
            first, *others = as_inputs(batch)
            inputs = (self._augment(first), *others)
            outputs = self._runner.outputs(self._twin, inputs)
            share = len(labels) / len(positions)
            loss = self._loss(outputs, labels, self._taught(inputs))
            value = float(loss.item())
            if not math.isfinite(value):
                return value
            torch.autograd.backward(loss if share == 1 else loss * share)
            total += value * share
        if self._config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._twin.parameters(), self._config.clip_norm)
        machinery.optimizer.step()
        return total

    def _taught(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._teacher is None or not self._loss.needs_teacher:
            return None
        with torch.no_grad():
            return self._runner.outputs(self._teacher, inputs)

    def _score(self, model: TorchTwin) -> Score:
        """Score on the samples that were kept back."""
        sums = ScoreSums(self._loss)
        for outputs, labels, inputs in self._evaluated(model):
            with torch.no_grad():
                sums.add(outputs, labels, self._taught(inputs))
        return sums.score()

    def _evaluated(
        self, model: TorchTwin
    ) -> Iterator[tuple[tuple[Tensor, ...], Tensor, tuple[Tensor, ...]]]:
        """Outputs, labels and inputs of the samples that were kept back."""
        model.eval()
        piece = self._runner.piece(_EVALUATION_BATCH)
        for batch, labels in self._samples.batches(self._held_out, piece):
            inputs = as_inputs(batch)
            with torch.no_grad():
                outputs = self._runner.outputs(model, inputs)
            yield outputs, labels, inputs


def _diverged(loss: float, epoch: int, step: int, rate: float) -> str:
    return (
        f"QAT diverged: the loss is {loss} in epoch {epoch}, step {step} (learning rate "
        f"{rate:.3g}). Lower qat.lr and qat.scale_lr or set qat.clip_norm; if it happens in the "
        "first step, look for NaN in the data"
    )


def _collapsed(course: Course, epoch: int, config: QatConfig) -> str:
    before, after = course.curve[0].score, course.curve[-1].score
    figures = f"{before:.1%} to {after:.1%} of the samples kept back are right"
    if config.task == "imitate":
        figures = f"{before:.1f} dB to {after:.1f} dB of signal to quantization noise"
    return (
        f"QAT diverged: from {figures} in epoch {epoch}. Lower qat.lr ({config.lr:g}) and "
        f"qat.scale_lr ({config.scale_lr:g}), or set qat.clip_norm"
    )


def _settle(twin: TorchTwin, original: torch.fx.GraphModule) -> None:
    """Puts plain quantizers back into the twin's own graph module."""
    twin.graph_module = original
    twin.replace_quantizers(
        lambda item: item.settled() if isinstance(item, TrainableFakeQuantize) else item
    )


def _settled_state(twin: TorchTwin) -> dict[str, Tensor]:
    """The state that the twin would have with plain quantizers."""
    state = {
        name: item.detach().clone()
        for name, item in twin.state_dict().items()
        if not name.endswith(".log_factor")
    }
    for name, module in twin.named_modules(remove_duplicate=False):
        if isinstance(module, FakeQuantize):
            scale, zero_point = module.current()
            state[f"{name}.scale"] = scale.detach().clone()
            state[f"{name}.zero_point"] = zero_point.detach().clone()
    return state
