"""Class scores of a network that is trained, and whether they fit the labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.errors import InputError
from edgekit.training.samples import Samples

EVALUATION_BATCH = 256
"""Samples in one run where nothing is trained."""


def accuracy(model: nn.Module, samples: Samples, order: Sequence[int]) -> float:
    """Share of the samples at ``order`` whose highest score is their class."""
    model.eval()
    hits = 0
    with torch.inference_mode():
        for inputs, labels in samples.batches(order, EVALUATION_BATCH):
            hits += int(count_hits(checked_scores(model(inputs), len(inputs), labels), labels))
    return hits / len(order)


def checked_scores(scores: object, samples: int, labels: Tensor) -> Tensor:
    """What a model gave for a batch, if it classifies.

    Args:
        scores: Of whatever type.
        samples: Number of samples that it was given.
        labels: ``int64[n]`` on the CPU: looking at labels on a GPU would wait for it, and a
            wrong one would end the process there.

    Raises:
        InputError: If it is no ``[N, classes]``, or a label is none of the classes.
    """
    if not isinstance(scores, Tensor) or scores.ndim != 2 or len(scores) != samples:
        what = (
            f"a tensor of shape {list(scores.shape)}"
            if isinstance(scores, Tensor)
            else f"a {type(scores).__name__}"
        )
        raise InputError(
            f"Training needs a model that gives one tensor [N, classes]; this one gives {what} "
            f"for {samples} samples."
        )
    low, high = (int(item) for item in torch.aminmax(labels))
    if high >= scores.shape[1]:
        raise InputError(
            f"The model has {scores.shape[1]} classes, but the data set has class {high}. Give "
            "the model as many outputs as there are classes."
        )
    if low < 0:
        raise InputError(
            f"The data set has samples without a label (class {low}), and a classifier learns "
            "from labels. Leave them out, or learn from a teacher alone (task = 'imitate')."
        )
    return scores


def require_classes(labels: Tensor) -> None:
    """Refuses samples of one class alone, which teach nothing.

    Args:
        labels: ``int64[n]``, or the lowest and the highest of them.

    Raises:
        InputError: If all are the same.
    """
    low, high = (int(item) for item in torch.aminmax(labels))
    if low == high:
        raise InputError(
            f"All training samples are of class {low}; a classifier needs at least two classes "
            "to tell apart. Check the labels, and whether data.limit leaves too few samples."
        )


def count_hits(scores: Tensor, labels: Tensor) -> Tensor:
    """Number of samples whose highest score is their class, as a tensor on their device."""
    return (scores.argmax(dim=1) == labels).sum()
