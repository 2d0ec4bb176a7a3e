"""Compares the outputs of an artifact with those of the reference runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.metrics import OutputDifference
from edgekit.errors import VerificationError
from edgekit.measure.feeds import random_feeds

__all__ = ["compare_outputs", "random_feeds"]


def compare_outputs(
    reference: Mapping[str, npt.NDArray[Any]], candidate: Mapping[str, npt.NDArray[Any]]
) -> tuple[OutputDifference, ...]:
    """Differences of all outputs, in the order of ``reference``.

    Values are compared in float64. Where the reference is constant, ``relative`` is over its
    magnitude; where it is all zero, ``relative`` is ``max_abs`` itself.

    Args:
        reference: Outputs by name of the runtime that is right by definition.
        candidate: Outputs by name of the artifact.

    Raises:
        VerificationError: If names or shapes differ, or either holds NaN or infinity; all
            outputs concerned are listed.
    """
    faults = [
        f"output {name!r} is {fault}"
        for name in dict.fromkeys((*reference, *candidate))
        if (fault := _fault(reference.get(name), candidate.get(name)))
    ]
    if faults:
        raise VerificationError(
            "The outputs cannot be compared with the reference: " + "; ".join(faults) + "."
        )
    return tuple(_difference(name, reference[name], candidate[name]) for name in reference)


def _fault(reference: npt.NDArray[Any] | None, candidate: npt.NDArray[Any] | None) -> str | None:
    """What makes one output incomparable; None if nothing does."""
    if reference is None:
        return "not among the reference's"
    if candidate is None:
        return "missing"
    if reference.shape != candidate.shape:
        return f"of shape {list(candidate.shape)}, expected {list(reference.shape)}"
    for whose, values in (("the reference", reference), ("the artifact", candidate)):
        finite = np.isfinite(values.astype(np.float64))
        if not finite.all():
            count = int(finite.size - finite.sum())
            return f"not finite in {whose}: {count} of {finite.size} values are NaN or infinite"
    return None


def _difference(
    name: str, reference: npt.NDArray[Any], candidate: npt.NDArray[Any]
) -> OutputDifference:
    if reference.size == 0:
        return OutputDifference(output=name, max_abs=0.0, reference_range=0.0, relative=0.0)
    wanted, got = reference.astype(np.float64), candidate.astype(np.float64)
    max_abs = float(np.abs(got - wanted).max())
    extent = float(wanted.max() - wanted.min())
    scale = extent or float(np.abs(wanted).max()) or 1.0
    return OutputDifference(
        output=name, max_abs=max_abs, reference_range=extent, relative=max_abs / scale
    )
