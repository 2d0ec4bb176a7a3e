"""Learning from a teacher: its class scores, its features, where it looks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.errors import InputError


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """``T^2 * KL(softmax(teacher / T) || softmax(student / T))``.

    Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015. The factor keeps
    the gradient's size when the temperature changes.

    Args:
        student: float ``[N, classes]``, before softmax.
        teacher: The same; no gradient flows into it.
        temperature: Softens both.

    Returns:
        Mean over the samples.

    Raises:
        InputError: If the shapes differ.
    """
    _require_alike(student, teacher)
    own = functional.log_softmax(student / temperature, dim=1)
    wanted = functional.log_softmax(teacher.detach() / temperature, dim=1)
    loss = functional.kl_div(own, wanted, reduction="batchmean", log_target=True)
    return loss * temperature**2


def knowledge_distillation(
    students: Sequence[Tensor],
    teachers: Sequence[Tensor],
    labels: Tensor | None,
    alpha: float = 0.1,
    temperature: float = 4.0,
    smoothing: float = 0.0,
) -> Tensor:
    """``alpha * CE(y, student) + (1 - alpha) * T^2 * KL(teacher || student)``.

    The labels belong to the first output; of several outputs the second term is the mean.

    Args:
        students: Outputs ``[N, classes]``, before softmax.
        teachers: The teacher's, as many.
        labels: int64 ``[N]`` or shares ``[N, classes]``; None learns from the teacher alone.
        alpha: Weight of the labels.
        temperature: Softens both.
        smoothing: Of the labels.

    Raises:
        InputError: If the outputs do not match.
    """
    if len(students) != len(teachers):
        raise InputError(
            f"The student has {len(students)} outputs and the teacher {len(teachers)}; "
            "distillation compares them one by one. Choose a teacher of the same outputs."
        )
    pairs = zip(students, teachers, strict=True)
    soft = torch.stack(
        [distillation_loss(own, wanted, temperature) for own, wanted in pairs]
    ).mean()
    if labels is None:
        return soft
    hard = functional.cross_entropy(students[0], labels, label_smoothing=smoothing)
    return alpha * hard + (1 - alpha) * soft


def hint_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """``|s - t|^2 / 2`` of features, mean over all elements.

    Romero and others, FitNets, 2015. A student with fewer channels brings them to the teacher's
    by a 1x1 convolution before.

    Raises:
        InputError: If the shapes differ.
    """
    _require_alike(student, teacher)
    return 0.5 * functional.mse_loss(student, teacher.detach())


def attention_transfer_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """``|Q_s / |Q_s| - Q_t / |Q_t||^2`` with ``Q`` the sum of squares over channels.

    Zagoruyko and Komodakis, Paying More Attention to Attention, 2017. The channels may differ,
    height and width may not.

    Args:
        student: float ``[N, C, H, W]``.
        teacher: float ``[N, K, H, W]``.

    Returns:
        Mean over the samples of the squared distance.

    Raises:
        InputError: If batch, height or width differ.
    """
    if student.shape[0] != teacher.shape[0] or student.shape[2:] != teacher.shape[2:]:
        raise InputError(
            f"Attention maps of {list(student.shape)} and {list(teacher.shape)} cannot be "
            "compared: batch, height and width have to be equal."
        )
    own, wanted = (
        functional.normalize((item**2).sum(dim=1).flatten(1), dim=1)
        for item in (student, teacher.detach())
    )
    return ((own - wanted) ** 2).sum(dim=1).mean()


def _require_alike(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise InputError(
            f"The student gives {list(student.shape)} and the teacher {list(teacher.shape)}; "
            "they have to give the same. Check their numbers of classes."
        )
