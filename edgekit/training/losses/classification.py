"""Losses of classifiers."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def smoothed_cross_entropy(scores: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy against ``(1 - smoothing) * target + smoothing / classes``.

    Szegedy and others, Rethinking the Inception Architecture, 2016.

    Args:
        scores: float ``[N, classes]``, before softmax.
        targets: int64 ``[N]`` class indices, or float ``[N, classes]`` shares that add up to 1.
        smoothing: Share of the target that is spread over all classes.

    Returns:
        Mean over the samples.
    """
    return functional.cross_entropy(scores, targets, label_smoothing=smoothing)


def focal_loss(
    scores: Tensor,
    targets: Tensor,
    gamma: float = 2.0,
    alpha: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """``-alpha_t (1 - p_t)^gamma log p_t`` with the softmax's probability of the true class.

    Lin and others, Focal Loss for Dense Object Detection, 2017. With ``gamma = 0`` and no
    ``alpha`` it is cross-entropy. Targets that are shares of several classes, as blended samples
    and smoothed labels have them, weigh the terms of these classes.

    Args:
        scores: float ``[N, classes]``, before softmax.
        targets: int64 ``[N]`` class indices, or float ``[N, classes]`` shares that add up to 1.
        gamma: How much samples that are right already count less.
        alpha: float ``[classes]``, weight of each class.
        smoothing: Share of the target that is spread over all classes.

    Returns:
        Mean over the samples.
    """
    classes = scores.shape[1]
    shares = one_hot(targets, classes, scores.dtype)
    if smoothing:
        shares = (1 - smoothing) * shares + smoothing / classes
    logs = functional.log_softmax(scores, dim=1)
    loss = -((1 - logs.exp()) ** gamma) * logs * shares
    return (loss if alpha is None else alpha * loss).sum(dim=1).mean()


def binary_focal_loss(
    scores: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float = 0.25
) -> Tensor:
    """The same with the sigmoid's probability, for independent yes and no.

    Args:
        scores: float of any shape, before the sigmoid.
        targets: float of that shape, 0 or 1.
        gamma: How much samples that are right already count less.
        alpha: Weight of 1; that of 0 is ``1 - alpha``. Negative for no weights.

    Returns:
        Mean over all elements.
    """
    from torchvision.ops import sigmoid_focal_loss

    found: Tensor = sigmoid_focal_loss(scores, targets, alpha, gamma, reduction="mean")
    return found


def one_hot(labels: Tensor, classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Class indices as shares ``[N, classes]``; shares stay as they are."""
    if labels.is_floating_point():
        return labels
    return functional.one_hot(labels, classes).to(dtype)
