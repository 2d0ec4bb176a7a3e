"""Losses of embeddings: near for the same class, far for another."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(first: Tensor, second: Tensor, same: Tensor, margin: float = 1.0) -> Tensor:
    """``d^2 / 2`` for pairs of one class, ``max(0, margin - d)^2 / 2`` for others.

    Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping, 2006,
    whose Y is 0 for similar pairs; here ``same`` is 1 for them. ``d`` is the Euclidean distance.

    Args:
        first: float ``[N, D]``.
        second: float ``[N, D]``.
        same: ``[N]``, 1 or true for pairs of one class.
        margin: Distance from which on pairs of different classes cost nothing.

    Returns:
        Mean over the pairs.
    """
    distance = _norm(first - second)
    alike = same.to(first.dtype)
    apart = torch.clamp(margin - distance, min=0)
    return (0.5 * (alike * distance**2 + (1 - alike) * apart**2)).mean()


def triplet_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 0.2,
    *,
    squared: bool = True,
) -> Tensor:
    """``max(0, d(a, p) - d(a, n) + margin)``.

    Schroff, Kalenichenko and Philbin, FaceNet, 2015, with squared Euclidean distances;
    ``torch.nn.TripletMarginLoss`` takes plain ones, as ``squared=False`` does here.

    Args:
        anchor: float ``[N, D]``.
        positive: Of the anchor's class.
        negative: Of another class.
        margin: How much further the negative is to be.
        squared: Whether distances are squared.

    Returns:
        Mean over the triplets.
    """
    near, far = (_distance(anchor, other, squared) for other in (positive, negative))
    return torch.clamp(near - far + margin, min=0).mean()


def semi_hard_triplets(
    embeddings: Tensor, labels: Tensor, margin: float = 0.2
) -> tuple[Tensor, Tensor, Tensor]:
    """Triplets of a batch: every anchor with each positive, and the nearest fitting negative.

    The negative is further than the positive, but by less than the margin (FaceNet's semi-hard
    ones); where there is none, the farthest of all.

    Args:
        embeddings: float ``[N, D]``.
        labels: int64 ``[N]``.
        margin: Of the loss.

    Returns:
        Indices ``[T]`` of anchors, positives and negatives; empty where the batch has no pair of
        one class or no second class.
    """
    with torch.no_grad():
        distances = torch.cdist(embeddings, embeddings) ** 2
    anchors, positives, negatives = [], [], []
    same = labels[:, None] == labels[None]
    for anchor in range(len(labels)):
        others = torch.nonzero(~same[anchor]).flatten()
        if not len(others):
            continue
        for positive in torch.nonzero(same[anchor]).flatten().tolist():
            if positive == anchor:
                continue
            near = distances[anchor, positive]
            far = distances[anchor, others]
            fitting = (far > near) & (far < near + margin)
            chosen = (
                far.masked_fill(~fitting, torch.inf).argmin() if fitting.any() else far.argmax()
            )
            anchors.append(anchor)
            positives.append(positive)
            negatives.append(int(others[chosen]))
    made = [torch.tensor(items, dtype=torch.int64) for items in (anchors, positives, negatives)]
    return made[0], made[1], made[2]


def _distance(first: Tensor, second: Tensor, squared: bool) -> Tensor:
    return ((first - second) ** 2).sum(dim=1) if squared else _norm(first - second)


def _norm(difference: Tensor) -> Tensor:
    """Euclidean norm whose gradient at 0 is 0 instead of NaN."""
    total = (difference**2).sum(dim=1)
    zero = total == 0
    return torch.where(zero, torch.zeros_like(total), torch.sqrt(total.masked_fill(zero, 1)))
