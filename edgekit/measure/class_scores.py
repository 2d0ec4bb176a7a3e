"""Reads class scores from the outputs of a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.data.contract import Labels
from edgekit.errors import InputError, VerificationError


def class_output(signature: ModelSignature) -> TensorSpec:
    """The output that holds the class scores: the only one of rank 2, else the first."""
    of_rank_2 = [spec for spec in signature.outputs if len(spec.shape) == 2]
    return of_rank_2[0] if len(of_rank_2) == 1 else signature.outputs[0]


def class_scores(
    values: npt.NDArray[Any], output: TensorSpec, samples: int, first_sample: int
) -> npt.NDArray[Any]:
    """An output as ``[samples, classes]``; trailing axes of size 1 are dropped.

    Raises:
        InputError: If it is no vector of scores for each sample.
        VerificationError: If it holds NaN.
    """
    scores = values
    while scores.ndim > 2 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    if scores.ndim != 2 or len(scores) != samples or scores.shape[1] < 2:
        raise InputError(
            f"Accuracy needs class scores, one vector a sample, but output {output} gave "
            f"{list(values.shape)} for {samples} samples; this model is no classifier, or its "
            "scores are another output."
        )
    bad = np.isnan(scores.astype(np.float64)).any(axis=1)
    if bad.any():
        raise VerificationError(
            f"Output {output} is NaN for {int(bad.sum())} of {samples} samples, first for sample "
            f"{first_sample + int(bad.argmax())}; no class can be read from it."
        )
    return scores


def ranks(scores: npt.NDArray[Any], targets: Labels) -> npt.NDArray[np.int64]:
    """Number of classes that come before the target's, ``int64[n]``.

    Args:
        scores: ``[n, classes]``, higher is better; of equal scores the lower index is first.
        targets: ``int64[n]``.
    """
    own = np.take_along_axis(scores, targets[:, np.newaxis], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, np.newaxis]
    return np.asarray(((scores > own) | ((scores == own) & earlier)).sum(axis=1), np.int64)
