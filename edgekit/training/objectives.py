"""What a training minimizes: labels, labels and a teacher, or a teacher alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from edgekit.errors import InputError
from edgekit.training.config import TrainConfig
from edgekit.training.losses.classification import focal_loss, smoothed_cross_entropy
from edgekit.training.losses.distillation import distillation_loss
from edgekit.training.qat.losses import Variances, VarianceSums, imitation_loss

type Teacher = Callable[[Tensor], tuple[Tensor, ...]]
"""Outputs of the teacher for a batch of inputs, as many and as large as the student's."""

type LabelLoss = Callable[[Tensor, Tensor, float], Tensor]
"""Loss of class scores before softmax, targets (indices or shares) and their smoothing."""


@dataclass(frozen=True, slots=True)
class StepBatch:
    """What one step is computed from.

    Attributes:
        inputs: As the student sees them, augmented and blended.
        targets: Class indices ``int64[N]``, or shares ``[N, classes]``.
        teacher: The teacher's outputs for the same inputs; None without a teacher.
    """

    inputs: Tensor
    targets: Tensor
    teacher: tuple[Tensor, ...] | None = None


class Objective(Protocol):
    """What a training minimizes, and by what its epochs are compared."""

    @property
    def classifies(self) -> bool:
        """Whether the first output is class scores that labels are compared with."""

    @property
    def teacher(self) -> Teacher | None:
        """Asked for the outputs of each batch; None where nothing is compared with it."""

    @property
    def remembers_teacher(self) -> bool:
        """Whether the teacher's outputs may be kept where samples do not change."""

    def loss(self, outputs: tuple[Tensor, ...], batch: StepBatch, smoothing: float) -> Tensor:
        """A scalar.

        Args:
            outputs: Of the student, in float32.
            batch: What they were computed from.
            smoothing: Of the labels.

        Raises:
            InputError: If student, teacher and labels do not fit each other.
        """


@dataclass(frozen=True, slots=True)
class LabelObjective:
    """The first output compared with the labels.

    Attributes:
        label_loss: How; by cross-entropy if nothing else is named.
    """

    classifies: bool = True
    teacher: Teacher | None = None
    remembers_teacher: bool = True
    label_loss: LabelLoss = smoothed_cross_entropy

    def loss(self, outputs: tuple[Tensor, ...], batch: StepBatch, smoothing: float) -> Tensor:
        """See `Objective.loss`."""
        return self.label_loss(outputs[0], batch.targets, smoothing)


@dataclass(frozen=True, slots=True)
class DistillationObjective:
    """``alpha * CE(y, s) + (1 - alpha) * T^2 * KL(softmax(t / T) || softmax(s / T))``.

    Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015. Of several
    outputs the second term is the mean; the labels belong to the first.

    Attributes:
        teacher: Gives scores before softmax.
        alpha: Weight of the labels.
        temperature: Softens both.
        label_loss: Of the first term, where it is not to be cross-entropy.
    """

    teacher: Teacher
    alpha: float = 0.1
    temperature: float = 4.0
    classifies: bool = True
    remembers_teacher: bool = True
    label_loss: LabelLoss = smoothed_cross_entropy

    def loss(self, outputs: tuple[Tensor, ...], batch: StepBatch, smoothing: float) -> Tensor:
        """See `Objective.loss`."""
        wanted = _matching(outputs, batch)
        terms = [
            distillation_loss(own, target, self.temperature)
            for own, target in zip(outputs, wanted, strict=True)
        ]
        soft = torch.stack(terms).mean()
        if not self.alpha:
            return soft
        hard = self.label_loss(outputs[0], batch.targets, smoothing)
        return self.alpha * hard + (1 - self.alpha) * soft


@dataclass(frozen=True, slots=True)
class ImitationObjective:
    """Squared error of every output, each divided by the variance of the teacher's.

    Needs no labels, and no outputs that are class scores.

    Attributes:
        teacher: The network that is imitated.
        variances: Of its outputs, from `teacher_variances`.
    """

    teacher: Teacher
    variances: Variances
    classifies: bool = False
    remembers_teacher: bool = True

    def loss(self, outputs: tuple[Tensor, ...], batch: StepBatch, smoothing: float) -> Tensor:
        """See `Objective.loss`."""
        return imitation_loss(outputs, _matching(outputs, batch), self.variances)


def label_loss_of(config: TrainConfig) -> LabelLoss:
    """The loss of labels that the options name."""
    if config.loss == "cross_entropy":
        return smoothed_cross_entropy
    gamma = config.focal_gamma

    def focal(scores: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        return focal_loss(scores, targets, gamma, smoothing=smoothing)

    return focal


def teacher_variances(teacher: Teacher, inputs: Sequence[Tensor]) -> Variances:
    """Variance of each of the teacher's outputs over some batches.

    Args:
        teacher: Asked once a batch.
        inputs: Batches.
    """
    sums = VarianceSums()
    with torch.no_grad():
        for batch in inputs:
            sums.add(teacher(batch))
    return sums.variances()


def module_teacher(module: nn.Module) -> Teacher:
    """A torch module as a teacher; it is put into evaluation mode, and follows the inputs' device.

    Args:
        module: Gives a tensor or a tuple of them.
    """
    module.eval()

    @torch.no_grad()
    def outputs(inputs: Tensor) -> tuple[Tensor, ...]:
        module.to(inputs.device)
        return as_outputs(module(inputs))

    return outputs


def as_outputs(found: object) -> tuple[Tensor, ...]:
    """What a network gave, as a tuple of tensors.

    Raises:
        InputError: If it is something else.
    """
    items = tuple(found) if isinstance(found, (tuple, list)) else (found,)
    if not items or not all(isinstance(item, Tensor) for item in items):
        kinds = ", ".join(type(item).__name__ for item in items)
        raise InputError(f"Training needs a model that gives tensors; this one gives {kinds}")
    return items


def _matching(outputs: tuple[Tensor, ...], batch: StepBatch) -> tuple[Tensor, ...]:
    """The teacher's outputs, which have to be shaped as the student's."""
    wanted = batch.teacher or ()
    shapes = [[list(item.shape[1:]) for item in items] for items in (outputs, wanted)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"The student gives {_listed(shapes[0])} a sample and the teacher "
            f"{_listed(shapes[1])}; they have to give the same outputs. Choose a teacher with the "
            "same classes and outputs in the same order"
        )
    return wanted


def _listed(shapes: Sequence[list[int]]) -> str:
    return f"{len(shapes)} outputs of shapes {', '.join(map(str, shapes))}" if shapes else "none"
