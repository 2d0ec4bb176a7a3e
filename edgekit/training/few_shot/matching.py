"""Matching networks without full context embeddings.

O. Vinyals et al., "Matching Networks for One Shot Learning", 2016: a query takes the labels of the
support, weighted by attention ``a = softmax(cosine(query, support))`` (eqs. 1 and 2; section
2.1.1). Encoder of query and support are the same.

Cosines span 2 at most, so that the published attention is nearly even and its loss stays high
however well the classes are apart. ``sharpness`` multiplies the cosines first; 1 is the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.training.few_shot.episodes import Episode

_SMALLEST_NORM = 1e-8


def cosine_attention(queries: Tensor, support: Tensor, sharpness: float = 1.0) -> Tensor:
    """``softmax(sharpness * cosine)``.

    An embedding of zeros has cosine 0 to all.

    Args:
        queries: ``[n, width]``.
        support: ``[m, width]``.
        sharpness: Factor on the cosines.

    Returns:
        ``[n, m]``; each row adds up to 1.
    """
    units = functional.normalize(queries, dim=1, eps=_SMALLEST_NORM)
    others = functional.normalize(support, dim=1, eps=_SMALLEST_NORM)
    return torch.softmax(sharpness * (units @ others.T), dim=1)


def probabilities(encoder: nn.Module, episode: Episode, sharpness: float = 1.0) -> Tensor:
    """Probability of each class for each query, ``[queries, ways]``.

    It stays away from 0 and 1: with one shot of each of N classes and sharpness s at most
    ``e^2s / (e^2s + N - 1)``.
    """
    together = encoder(torch.cat([episode.support, episode.queries])).flatten(1)
    support, queries = together.split([len(episode.support), len(episode.queries)])
    labels = functional.one_hot(episode.support_labels, episode.ways).to(support.dtype)
    return cosine_attention(queries, support, sharpness) @ labels


def loss(encoder: nn.Module, episode: Episode, sharpness: float = 1.0) -> Tensor:
    """Mean negative log-probability of the queries' classes, a scalar."""
    shares = probabilities(encoder, episode, sharpness)
    return functional.nll_loss(shares.log(), episode.query_labels)


def predict(encoder: nn.Module, episode: Episode, sharpness: float = 1.0) -> Tensor:
    """Class of each query, ``int64[queries]``; the encoder's mode is left as it is."""
    with torch.no_grad():
        return probabilities(encoder, episode, sharpness).argmax(dim=1)
