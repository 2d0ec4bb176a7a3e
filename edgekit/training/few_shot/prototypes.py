"""Prototypical networks.

J. Snell, K. Swersky, R. Zemel, "Prototypical Networks for Few-shot Learning", 2017: the prototype
of a class is the mean of its embedded shots (eq. 1), a query belongs to it with probability
``softmax(-d)`` over squared Euclidean distances ``d`` (eq. 2), and the loss is the mean negative
log-probability of the true classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.training.few_shot.episodes import Episode


def class_means(embeddings: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Prototypes.

    Args:
        embeddings: Embedded shots, ``[n, width]``.
        labels: Their classes, ``int64[n]``; each of 0..ways-1 occurs.
        ways: Number of classes.

    Returns:
        ``[ways, width]``.
    """
    members = functional.one_hot(labels, ways).to(embeddings.dtype)
    return (members.T @ embeddings) / members.sum(dim=0).unsqueeze(1)


def squared_distances(queries: Tensor, prototypes: Tensor) -> Tensor:
    """Squared Euclidean distances of ``[n, width]`` to ``[ways, width]``: ``[n, ways]``.

    Taken from the differences: ``|q|^2 - 2 q p + |p|^2`` cancels where both are close.
    """
    return (queries.unsqueeze(1) - prototypes.unsqueeze(0)).square().sum(dim=2)


def scores(encoder: nn.Module, episode: Episode) -> Tensor:
    """Negative squared distances of the queries, ``[queries, ways]``; logits of the classes.

    Support and queries pass through the encoder together, so that in training mode its
    normalisation sees one batch.
    """
    together = encoder(torch.cat([episode.support, episode.queries])).flatten(1)
    support, queries = together.split([len(episode.support), len(episode.queries)])
    prototypes = class_means(support, episode.support_labels, episode.ways)
    return -squared_distances(queries, prototypes)


def loss(encoder: nn.Module, episode: Episode) -> Tensor:
    """Mean negative log-probability of the queries' classes, a scalar."""
    return functional.cross_entropy(scores(encoder, episode), episode.query_labels)


def predict(encoder: nn.Module, episode: Episode) -> Tensor:
    """Class of each query, ``int64[queries]``; the encoder's mode is left as it is."""
    with torch.no_grad():
        return scores(encoder, episode).argmax(dim=1)
