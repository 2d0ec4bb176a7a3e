"""What quantization-aware training minimizes, and by what epochs are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx
from torch.nn import functional

from edgekit.errors import InputError
from edgekit.graph.torch_twin.fake_quantize import FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.losses.distillation import distillation_loss
from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.task import class_output_index, class_scores_of

SMALLEST_PROBABILITY = 1.0 / 512
"""Half a step of 8-bit probabilities: what is rounded to 0 may be that large."""
_TINY = 1e-12

type Variances = Sequence[float | None]
"""Variance of each output of the float model; None for one that cannot be imitated."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a twin does on samples that it was not trained with.

    Attributes:
        value: Share of right predictions, or for ``task = "imitate"`` the signal-to-noise
            ratio of all outputs against the float model, in dB.
        loss: Mean loss.
        error: See `standard_error`; 0 for other values than shares.
    """

    value: float
    loss: float
    error: float = 0.0

    def has_collapsed(self, start: Score, config: QatConfig) -> bool:
        """True when what the model could do before training is lost.

        Quantizers bound whatever they are given, so that the loss of a training that diverges
        often stays finite.
        """
        if config.task == "classify":
            return self.value < start.value / 2
        return self.value < min(0.0, start.value)


def standard_error(hits: int, samples: int) -> float:
    """Standard error of a share, ``sqrt(p (1 - p) / n)`` with two hits and two misses added.

    Without them it would be 0 where all samples are right (Agresti and Coull, Approximate is
    better than "exact" for interval estimation of binomial proportions, 1998).
    """
    count = samples + 4
    share = (hits + 2) / count
    return math.sqrt(share * (1.0 - share) / count)


def gives_probabilities(twin: TorchTwin, output: int = 0) -> bool:
    """True when an output comes from a Softmax, perhaps rounded."""
    last = next(node for node in twin.graph_module.graph.nodes if node.op == "output")
    node = last.args[0][output]
    while isinstance(node, fx.Node) and node.op == "call_module":
        module = twin.graph_module.get_submodule(str(node.target))
        if not isinstance(module, FakeQuantize):
            return False
        node = node.args[0]
    return isinstance(node, fx.Node) and node.target is torch.softmax


class QatLoss:
    """Loss of labels and of the comparison with the float model.

    Attributes:
        classifies: Whether labels are learned, and not the float model's outputs alone.
    """

    def __init__(
        self, config: QatConfig, twin: TorchTwin, *, distils: bool, variances: Variances = ()
    ) -> None:
        """Fixes what is compared.

        Args:
            config: Options; the task is settled.
            twin: Its signature tells which output holds class scores.
            distils: Whether there is a float model to compare with.
            variances: Of the float model's outputs; needed for ``task = "imitate"``.
        """
        self.classifies = config.task == "classify"
        self._share = config.distillation if distils else 0.0
        self._temperature = config.temperature
        self._output = class_output_index(twin.signature) if self.classifies else 0
        self._probabilities = self.classifies and gives_probabilities(twin, self._output)
        self._variances = variances

    @property
    def needs_teacher(self) -> bool:
        """True when the outputs of the float model have a share in the loss."""
        return not self.classifies or self._share > 0

    def __call__(
        self, outputs: tuple[Tensor, ...], labels: Tensor, teacher: tuple[Tensor, ...] | None
    ) -> Tensor:
        """The loss of one batch, a scalar.

        Args:
            outputs: Of the quantized model.
            labels: ``int64[n]``.
            teacher: Outputs of the float model; None when it has no share.

        Raises:
            InputError: If a label is no class of the model, or there is nothing to imitate.
        """
        if not self.classifies:
            return imitation_loss(outputs, teacher or (), self._variances)
        logits = self._logits(outputs)
        if int(labels.max()) >= logits.shape[1]:
            raise InputError(
                f"The model has {logits.shape[1]} classes, but the training set has class "
                f"{int(labels.max())}; train with the classes that the model predicts, or use "
                "task = 'imitate'"
            )
        loss = functional.cross_entropy(logits, labels)
        if not self._share or teacher is None:
            return loss
        distance = distillation_loss(logits, self._logits(teacher), self._temperature)
        return (1 - self._share) * loss + self._share * distance

    def hits(self, outputs: tuple[Tensor, ...], labels: Tensor) -> int:
        """Number of samples whose highest score is their class."""
        return int((class_scores_of(outputs[self._output]).argmax(dim=1) == labels).sum())

    def _logits(self, outputs: tuple[Tensor, ...]) -> Tensor:
        scores = class_scores_of(outputs[self._output])
        if not self._probabilities:
            return scores
        return torch.log(scores.clamp(min=SMALLEST_PROBABILITY))


def imitation_loss(
    outputs: Sequence[Tensor], teacher: Sequence[Tensor], variances: Variances
) -> Tensor:
    """Mean over the outputs of their squared error, relative to the float output's variance.

    Dividing by the variance makes outputs of different units count alike.
    """
    terms = [
        (output - target).square().mean() / variance
        for output, target, variance in zip(outputs, teacher, variances, strict=True)
        if variance is not None
    ]
    if not terms:
        raise InputError(
            "The model has no floating-point output that could be imitated, or only zeros"
        )
    return torch.stack(terms).mean()


@dataclass(slots=True)
class VarianceSums:
    """Adds up the variance of each output of the float model over batches."""

    count: list[int] = field(default_factory=list)
    total: list[float] = field(default_factory=list)
    squares: list[float] = field(default_factory=list)
    floating: list[bool] = field(default_factory=list)

    def add(self, outputs: tuple[Tensor, ...]) -> None:
        """Takes the outputs of one batch."""
        if not self.count:
            self.count = [0] * len(outputs)
            self.total, self.squares = [0.0] * len(outputs), [0.0] * len(outputs)
            self.floating = [item.is_floating_point() for item in outputs]
        for index, output in enumerate(outputs):
            wide = output.double()
            self.count[index] += wide.numel()
            self.total[index] += float(wide.sum())
            self.squares[index] += float(wide.square().sum())

    def variances(self) -> Variances:
        """Of all batches so far."""
        return tuple(
            _variance(squares / count, total / count) if floating and count else None
            for count, total, squares, floating in zip(
                self.count, self.total, self.squares, self.floating, strict=True
            )
        )


def _variance(mean_square: float, mean: float) -> float | None:
    """The mean square stands in for the variance of a constant; None for one that is always 0."""
    variance = mean_square - mean**2
    return (variance if variance > _TINY * mean_square else mean_square) or None


@dataclass(slots=True)
class ScoreSums:
    """Adds up a `Score` over batches."""

    loss_of: QatLoss
    samples: int = 0
    hits: int = 0
    loss: float = 0.0

    def add(
        self, outputs: tuple[Tensor, ...], labels: Tensor, teacher: tuple[Tensor, ...] | None
    ) -> None:
        """Takes one batch."""
        count = len(labels)
        self.samples += count
        self.loss += float(self.loss_of(outputs, labels, teacher)) * count
        if self.loss_of.classifies:
            self.hits += self.loss_of.hits(outputs, labels)

    def score(self) -> Score:
        """Of all batches so far."""
        loss = self.loss / self.samples
        if self.loss_of.classifies:
            return Score(self.hits / self.samples, loss, standard_error(self.hits, self.samples))
        # The loss is the noise as a share of the signal.
        return Score(-10 * math.log10(max(loss, _TINY)), loss)
