"""What an application computes on the device, in NumPy.

The encoder runs in the target's runtime; all that is left are the three functions below, with no
training and no framework: `class_means` once for k shots of each class, then `classify` for each
embedding. Port these, and compare with them. Source: Snell et al., 2017, equations 1 and 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgekit.errors import InputError

type Floats = npt.NDArray[np.float32]


def class_means(embeddings: Floats, labels: npt.NDArray[np.int64], ways: int) -> Floats:
    """Prototypes: the mean of each class's embedded shots.

    Args:
        embeddings: ``float32[n, width]``.
        labels: Classes, ``int64[n]`` in 0..ways-1.
        ways: Number of classes.

    Returns:
        ``float32[ways, width]``.

    Raises:
        InputError: If a label is out of range or a class has no shot.
    """
    inside = bool(labels.size) and labels.min() >= 0 and labels.max() < ways
    counts = np.bincount(labels, minlength=ways) if inside else np.zeros(ways, dtype=np.int64)
    if not counts.all():
        raise InputError(
            f"Prototypes of {ways} classes need one or more shots of each of 0..{ways - 1}; the "
            f"labels are {sorted(set(labels.tolist()))}."
        )
    sums = np.zeros((ways, embeddings.shape[1]), dtype=np.float32)
    for embedding, label in zip(embeddings, labels, strict=True):
        sums[label] += embedding
    means: Floats = sums / counts.astype(np.float32)[:, None]
    return means


def squared_distances(queries: Floats, prototypes: Floats) -> Floats:
    """Squared Euclidean distances of ``[n, width]`` to ``[ways, width]``: ``[n, ways]``."""
    differences = queries[:, None, :] - prototypes[None, :, :]
    distances: Floats = np.square(differences).sum(axis=2)
    return distances


def softmax(logits: Floats) -> Floats:
    """``exp(x) / sum(exp(x))`` over the last axis.

    The largest is taken off first, which keeps the exponentials from overflowing.
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def classify(queries: Floats, prototypes: Floats) -> Floats:
    """Probability of each class for each embedding, ``float32[n, ways]``."""
    return softmax(-squared_distances(queries, prototypes))
