"""Which input of an artifact is which of its reference's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError

type Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class InputPairing:
    """How feeds of the reference become feeds of the artifact.

    Attributes:
        inputs: Name of the artifact's input, of the reference's, and the order in which the
            artifact has the reference's axes.
        notes: What is not as it is in the reference.
    """

    inputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    notes: tuple[str, ...] = ()

    def feeds(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """The artifact's feeds; the sample is not modified."""
        return {
            own: np.ascontiguousarray(sample[name].transpose(axes))
            for own, name, axes in self.inputs
        }


def pair_inputs(
    reference: tuple[str, ModelSignature], artifact: tuple[str, ModelSignature]
) -> InputPairing:
    """Pairs inputs by name, or else by their order.

    Args:
        reference: Name, for messages, and signature.
        artifact: The same.

    Raises:
        InputError: If inputs do not fit, so that both are not the same model.
    """
    wanted = {spec.name: spec for spec in reference[1].inputs}
    own = artifact[1].inputs
    by_name = {spec.name for spec in own} == wanted.keys()
    notes = []
    if not by_name and len(own) != len(wanted):
        raise _other_model(reference, artifact)
    pairs = []
    for spec, other in zip(own, reference[1].inputs, strict=True):
        counterpart = wanted[spec.name] if by_name else other
        axes = _order(spec, counterpart)
        if axes is None or spec.dtype != counterpart.dtype:
            raise _other_model(reference, artifact)
        if not by_name:
            notes.append(
                f"input {spec.name!r} is fed what {counterpart.name!r} is: it is in its place"
            )
        if list(axes) != sorted(axes):
            notes.append(
                f"input {spec.name!r} has the axes of {counterpart.name!r} as {list(axes)}"
            )
        pairs.append((spec.name, counterpart.name, axes))
    return InputPairing(tuple(pairs), tuple(notes))


def _order(spec: TensorSpec, reference: TensorSpec) -> tuple[int, ...] | None:
    """Order of the reference's axes that fits; the channels last, if not as they are."""
    rank = len(reference.shape)
    if len(spec.shape) != rank:
        return None
    orders = [tuple(range(rank))]
    if rank > 2:
        orders.append((0, *range(2, rank), 1))
        orders += [order for order in permutations(range(rank)) if order not in orders]
    for order in orders:
        if all(
            isinstance(size, str) or isinstance(other, str) or size == other
            for size, other in zip(spec.shape, (reference.shape[a] for a in order), strict=True)
        ):
            return order
    return None


def _other_model(
    reference: tuple[str, ModelSignature], artifact: tuple[str, ModelSignature]
) -> InputError:
    return InputError(
        f"{artifact[0]} takes {'; '.join(map(str, artifact[1].inputs)) or 'nothing'}, but "
        f"{reference[0]} takes {'; '.join(map(str, reference[1].inputs)) or 'nothing'}. They are "
        "not the same model; compare artifacts of one model."
    )
