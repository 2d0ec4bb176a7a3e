"""Quantization-aware training of a torch twin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from edgekit.core.progress import Progress, SilentProgress
from edgekit.errors import GateError, InputError
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.augment import Augmentation
from edgekit.training.config import TrainConfig
from edgekit.training.determinism import deterministic
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.fake_quantize import QuantizerOptions, TrainableFakeQuantize
from edgekit.training.qat.fusion import fused_graph
from edgekit.training.qat.losses import QatLoss, Score, ScoreSums, gives_probabilities
from edgekit.training.qat.optimizer import make_qat_optimizer
from edgekit.training.qat.phases import Phases
from edgekit.training.qat.result import QatEpoch, QatResult
from edgekit.training.qat.samples import QatSamples, as_inputs, fixed_batch

_EVALUATION_BATCH = 256


def train_qat(
    twin: TorchTwin,
    samples: QatSamples,
    config: QatConfig,
    *,
    teacher: TorchTwin | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> QatResult:
    """Fine-tunes weights and scales of a quantized graph; the same arguments give the same.

    A share of the samples is kept back. The epoch that does best on it is kept, and that may
    be the state before training; the samples of a test set have no business here.

    Args:
        twin: Made from a QDQ graph; trained in place and left in evaluation mode.
        samples: Training set.
        config: Options.
        teacher: The float graph's twin; not modified. Needed for ``task = "imitate"``.
        seed: Seed of order and augmentation.
        progress: Receives the steps of each epoch.

    Raises:
        InputError: If the twin has no quantizers, or data, teacher and model do not fit.
        GateError: If the loss becomes NaN or infinite; names epoch and step. The twin is then
            as it was before.
    """
    _check(twin, samples, config, teacher)
    with deterministic(seed, config.threads):
        return _Training(twin, samples, config, teacher, seed).run(progress or SilentProgress())


def _check(
    twin: TorchTwin, samples: QatSamples, config: QatConfig, teacher: TorchTwin | None
) -> None:
    if not twin.quantizers():
        raise InputError(
            "The graph has no QuantizeLinear/DequantizeLinear pairs to train; quantize it first"
        )
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
    if config.task == "classify" and len(twin.signature.outputs[0].shape) != 2:
        raise InputError(
            f"task = 'classify' needs class scores [N, classes] as first output; the model gives "
            f"{twin.signature.outputs[0]}. Use task = 'imitate'"
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
        self._order = torch.Generator().manual_seed(seed)
        self._augment = Augmentation(
            TrainConfig(shift_px=config.shift_px, flip=config.flip), seed + 1
        )
        self._loss = QatLoss(config, gives_probabilities(twin), teacher is not None)
        self._teacher = teacher
        self._batch = fixed_batch(twin.signature) or config.batch_size
        positions = torch.randperm(len(samples), generator=self._order)
        held_out = round(len(samples) * config.validation)
        self._held_out = positions[:held_out].sort().values.tolist()
        self._training_set = positions[held_out:].sort().values
        self._steps = max(1, len(self._training_set) // self._batch)

    def run(self, progress: Progress) -> QatResult:
        twin, original = self._twin, self._twin.graph_module
        before = {name: item.clone() for name, item in twin.state_dict().items()}
        start = self._score(twin)
        teacher_score = None
        if self._teacher is not None and self._config.task == "classify":
            teacher_score = self._score(self._teacher).value
        twin.replace_quantizers(self._trainable)
        try:
            twin.graph_module = fused_graph(original)
            curve, best = self._epochs(start, progress)
        except BaseException:
            _settle(twin, original)
            twin.load_state_dict(before)
            raise
        _settle(twin, original)
        twin.load_state_dict(before if best is None else best.state)
        twin.eval()
        epoch = 0 if best is None else best.epoch
        return QatResult(twin, curve, epoch, teacher_score, len(self._held_out))

    def _trainable(self, quantizer: FakeQuantize) -> FakeQuantize:
        config = self._config
        weights = quantizer.role == "weight"
        source = config.weight_scales if weights else config.activation_ranges
        return TrainableFakeQuantize(quantizer, QuantizerOptions(source, config.observer_momentum))

    def _epochs(
        self, start: Score, progress: Progress
    ) -> tuple[tuple[QatEpoch, ...], _Best | None]:
        phases = Phases(self._config, self._steps, self._quantizers())
        optimizer = make_qat_optimizer(self._twin, self._quantizers(), self._config)
        total = self._config.epochs * self._steps
        schedule = LambdaLR(
            optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / total)))
        )
        curve = [
            QatEpoch(epoch=0, loss=None, score=start.value, held_out_loss=start.loss, lr=None)
        ]
        best: _Best | None = None
        best_score = start
        for epoch in range(1, self._config.epochs + 1):
            loss, rate = self._epoch(epoch, optimizer, schedule, phases, progress)
            score = self._score(self._twin)
            curve.append(
                QatEpoch(
                    epoch=epoch, loss=loss, score=score.value, held_out_loss=score.loss, lr=rate
                )
            )
            if score.better_than(best_score) or self._config.keep == "last":
                best_score = score
                best = _Best(epoch, _settled_state(self._twin))
        return tuple(curve), best

    def _quantizers(self) -> list[TrainableFakeQuantize]:
        return [
            module
            for module in self._twin.quantizers().values()
            if isinstance(module, TrainableFakeQuantize)
        ]

    def _epoch(
        self,
        number: int,
        optimizer: Optimizer,
        schedule: LambdaLR,
        phases: Phases,
        progress: Progress,
    ) -> tuple[float, float]:
        """Trains one epoch; gives the mean loss and the last learning rate."""
        self._twin.train()
        total, count, rate = 0.0, 0, 0.0
        progress.start(f"QAT epoch {number}/{self._config.epochs}", self._steps)
        try:
            for step, (inputs, labels) in enumerate(self._batches(), 1):
                phases.before_step()
                rate = float(schedule.get_last_lr()[0])
                loss = self._step(inputs, labels, optimizer)
                if not math.isfinite(loss):
                    raise GateError(
                        f"QAT diverged: the loss is {loss} in epoch {number}, step {step} "
                        f"(learning rate {rate:.3g}). Lower qat.lr and qat.scale_lr or set "
                        "qat.clip_norm; if it happens in the first step, look for NaN in the data"
                    )
                schedule.step()
                phases.after_step()
                total, count = total + loss * len(labels), count + len(labels)
                progress.advance(1, f"loss {loss:.3f}")
        finally:
            progress.finish()
        return total / count, rate

    def _batches(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        shuffled = torch.randperm(len(self._training_set), generator=self._order)
        order = self._training_set[shuffled][: self._steps * self._batch].tolist()
        for inputs, labels in self._samples.batches(order, self._batch):
            first, *others = as_inputs(inputs)
            yield (self._augment(first), *others), labels

    def _step(self, inputs: tuple[Tensor, ...], labels: Tensor, optimizer: Optimizer) -> float:
        outputs = self._twin.outputs(*inputs)
        loss = self._loss(outputs, labels, self._taught(inputs))
        value = float(loss.item())
        if math.isfinite(value):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            if self._config.clip_norm is not None:
                nn.utils.clip_grad_norm_(self._twin.parameters(), self._config.clip_norm)
            optimizer.step()
        return value

    def _taught(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._teacher is None or not self._loss.needs_teacher:
            return None
        with torch.no_grad():
            return self._teacher.outputs(*inputs)

    def _score(self, model: TorchTwin) -> Score:
        """Score on the samples that were kept back."""
        model.eval()
        sums = ScoreSums(self._config)
        size = fixed_batch(model.signature) or _EVALUATION_BATCH
        with torch.no_grad():
            for batch, labels in self._samples.batches(self._held_out, size):
                inputs = as_inputs(batch)
                outputs, taught = model.outputs(*inputs), self._taught(inputs)
                loss = float(self._loss(outputs, labels, taught))
                sums.add(outputs, labels, taught, loss)
        return sums.score()


@dataclass(frozen=True, slots=True)
class _Best:
    """The best epoch so far with its weights and scales, as a plain twin holds them."""

    epoch: int
    state: dict[str, Tensor]


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
