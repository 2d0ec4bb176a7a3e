"""Which tensor of a reference an artifact's tensor is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.core.layer_error import UnmatchedTensor
from edgekit.core.observation import ObservedTensor

type Array = npt.NDArray[Any]

_ALIKE = 0.1
"""Relative difference below which a tensor without a name may be one of the reference."""
_CLEARLY = 3.0
"""How many times as different the next candidate has to be for the best one to be taken."""
_SAME = 1e-4
"""Relative difference of what is equal but for rounding."""
_FEW = 8
"""With fewer elements only equal ones match: others may be alike by chance."""


@dataclass(frozen=True, slots=True)
class Match:
    """A tensor of an artifact and its counterpart.

    Attributes:
        tensor: The artifact's.
        reference: The reference's.
        axes: Axis ``i`` of the artifact's array is axis ``axes[i]`` of the reference's, after
            axes of size 1 were dropped from both.
        by_values: Whether it was found by its values, since the artifact has no such name.
    """

    tensor: ObservedTensor
    reference: ObservedTensor
    axes: tuple[int, ...] | None = None
    by_values: bool = False

    def to_artifact(self, array: Array, shape: tuple[int, ...]) -> Array:
        """The reference's array in the order of the artifact."""
        if self.axes is not None:
            array = np.squeeze(array).transpose(self.axes)
        return array.reshape(shape)

    def to_reference(self, array: Array, shape: tuple[int, ...]) -> Array:
        """The artifact's array in the order of the reference."""
        if self.axes is not None:
            array = np.squeeze(array).transpose(np.argsort(self.axes))
        return array.reshape(shape)


@dataclass(frozen=True, slots=True)
class Matching:
    """All counterparts, in the artifact's order, and what has none."""

    matches: tuple[Match, ...]
    unmatched: tuple[UnmatchedTensor, ...]


def match_tensors(
    reference: tuple[Sequence[ObservedTensor], Mapping[str, Array]],
    artifact: tuple[Sequence[ObservedTensor], Mapping[str, Array]],
    hidden: Mapping[str, str],
) -> Matching:
    """Finds the counterpart of every tensor of an artifact.

    1. By the name of the value that it holds in the canonical graph.
    2. By another name that the reference knows the value by, or the same name in letters, digits
       and underscores alone, as Core ML writes it; but not where several values are called so.
    3. A tensor whose artifact does not tell its value: by its values, in any order of axes.

    A counterpart of another shape is none, unless only axes of size 1 differ, or the values are
    the same in another order of axes.

    Args:
        reference: Tensors, and their arrays for one sample.
        artifact: The same.
        hidden: Why tensors of the artifact are not seen, by name.
    """
    names = _Names(reference[0])
    found: list[Match] = []
    missing: list[UnmatchedTensor] = []
    nameless: list[ObservedTensor] = []
    misshapen: set[str] = set()
    for tensor in artifact[0]:
        counterpart = names.find(tensor)
        if counterpart is None and not tensor.named:
            nameless.append(tensor)
            continue
        if counterpart is None:
            missing.append(_unmatched(tensor.stored, "artifact", names.why_not(tensor)))
            continue
        wanted, made = reference[1][counterpart.name], artifact[1][tensor.name]
        match = _with_axes(tensor, counterpart, wanted, made)
        if match is not None:
            found.append(match)
        elif not tensor.named:
            nameless.append(tensor)
        else:
            reason = f"its shape is {list(made.shape)}, but {list(wanted.shape)} in the reference"
            misshapen.add(counterpart.canonical)
            missing.append(_unmatched(tensor.stored, "artifact", reason))
    if nameless:
        taken = {match.reference.name for match in found}
        free = [tensor for tensor in reference[0] if tensor.name not in taken]
        by_values, unlike = _match_by_values((free, reference[1]), (nameless, artifact[1]))
        found += by_values
        missing += unlike
    order = {tensor.name: place for place, tensor in enumerate(artifact[0])}
    found.sort(key=lambda match: order[match.tensor.name])
    known = misshapen | {match.reference.canonical for match in found}
    missing += _without_artifact(reference[0], known, hidden)
    return Matching(tuple(found), tuple(missing))


class _Names:
    """Finds tensors of a reference by name."""

    def __init__(self, tensors: Sequence[ObservedTensor]) -> None:
        self._canonical: dict[str, list[ObservedTensor]] = {}
        self._others: dict[str, list[ObservedTensor]] = {}
        self._plain: dict[str, list[ObservedTensor]] = {}
        for tensor in tensors:
            self._canonical.setdefault(tensor.canonical, []).append(tensor)
            self._plain.setdefault(_plain(tensor.canonical), []).append(tensor)
            for alias in tensor.aliases:
                self._others.setdefault(alias, []).append(tensor)

    def find(self, tensor: ObservedTensor) -> ObservedTensor | None:
        """The counterpart; of several forms of one value the one that is quantized alike."""
        for table, keys in (
            (self._canonical, (tensor.canonical,)),
            (self._others, (tensor.canonical, *tensor.aliases)),
            (self._canonical, tensor.aliases),
            (self._plain, (_plain(tensor.canonical),)),
        ):
            for key in keys:
                candidates = table.get(key, [])
                if len({item.canonical for item in candidates}) == 1:
                    quantized = tensor.steps is not None
                    alike = [c for c in candidates if (c.steps is not None) == quantized]
                    return (alike or candidates)[0]
        return None

    def why_not(self, tensor: ObservedTensor) -> str:
        """Why a named tensor has no counterpart."""
        several = self._plain.get(_plain(tensor.canonical), [])
        if several:
            called = ", ".join(sorted({item.canonical for item in several}))
            return f"several values of the reference may be it: {called}"
        return f"the reference has no value {tensor.canonical!r}"


def _plain(name: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]", "_", name).removeprefix("v_")


def _same_shape(left: tuple[int, ...], right: tuple[int, ...]) -> bool:
    return left == right or [n for n in left if n != 1] == [n for n in right if n != 1]


def _with_axes(
    tensor: ObservedTensor, counterpart: ObservedTensor, wanted: Array, found: Array
) -> Match | None:
    """The match of two tensors of one name; None where their shapes do not fit.

    Passes of a converter move transpositions about, and a tensor keeps its name while its axes
    change places. Where sizes allow that, the values tell.
    """
    same = _same_shape(wanted.shape, found.shape)
    sizes = [size for size in wanted.shape if size != 1]
    if same and len(set(sizes)) == len(sizes):
        return Match(tensor, counterpart)
    likeness = _likeness(np.squeeze(wanted), np.squeeze(found))
    if likeness is not None and likeness[0] < _ALIKE:
        axes = likeness[1]
        return Match(tensor, counterpart, None if list(axes) == sorted(axes) else axes)
    return Match(tensor, counterpart) if same else None


def _unmatched(name: str, side: Any, reason: str) -> UnmatchedTensor:
    return UnmatchedTensor(tensor=name, side=side, reason=reason)


def _without_artifact(
    reference: Sequence[ObservedTensor], known: set[str], hidden: Mapping[str, str]
) -> list[UnmatchedTensor]:
    """Values of the reference that the artifact does not have, besides those known."""
    missing = []
    for tensor in reference:
        if tensor.canonical in known or not tensor.operators:
            continue
        known.add(tensor.canonical)
        reason = hidden.get(tensor.canonical) or (
            "the artifact has no tensor of that name: it is fused into the operators of another"
        )
        missing.append(_unmatched(tensor.canonical, "reference", reason))
    return missing


def _match_by_values(
    reference: tuple[Sequence[ObservedTensor], Mapping[str, Array]],
    artifact: tuple[Sequence[ObservedTensor], Mapping[str, Array]],
) -> tuple[list[Match], list[UnmatchedTensor]]:
    """Pairs tensors that look the same and like no other, each with one."""
    found: list[Match] = []
    missing: list[UnmatchedTensor] = []
    taken: set[str] = set()
    for tensor in artifact[0]:
        array = np.squeeze(artifact[1][tensor.name])
        scored = []
        for candidate in reference[0]:
            if candidate.name in taken:
                continue
            likeness = _likeness(np.squeeze(reference[1][candidate.name]), array)
            limit = _ALIKE if array.size >= _FEW else _SAME
            if likeness is not None and likeness[0] < limit:
                scored.append((*likeness, candidate))
        scored.sort(key=lambda item: item[0])
        if not scored:
            reason = "the artifact does not say which value it holds, and no value looks like it"
            missing.append(_unmatched(tensor.stored, "artifact", reason))
            continue
        best = scored[0]
        # Where several are equal, as behind a Reshape, the order of execution decides.
        rivals = [
            item
            for item in scored[1:]
            if item[0] > max(best[0] * 1.01, _SAME) and item[0] < best[0] * _CLEARLY
        ]
        if rivals:
            names = ", ".join(item[2].canonical for item in (best, *rivals)[:3])
            reason = (
                f"the artifact does not say which value it holds; several look like it: {names}"
            )
            missing.append(_unmatched(tensor.stored, "artifact", reason))
            continue
        found.append(Match(tensor, best[2], best[1], by_values=True))
        taken.add(best[2].name)
    return found, missing


def _likeness(reference: Array, array: Array) -> tuple[float, tuple[int, ...]] | None:
    """Least relative difference over the orders of axes, and that order.

    Returns:
        None where the sizes differ, or there is nothing to compare.
    """
    if sorted(reference.shape) != sorted(array.shape) or not array.size:
        return None
    wanted, found = reference.astype(np.float64), array.astype(np.float64)
    norm = float(np.linalg.norm(wanted))
    if not np.isfinite(norm) or norm == 0 or not np.isfinite(found).all():
        return None
    best: tuple[float, tuple[int, ...]] | None = None
    for axes in permutations(range(reference.ndim)):
        if tuple(reference.shape[axis] for axis in axes) != array.shape:
            continue
        difference = float(np.linalg.norm(wanted.transpose(axes) - found)) / norm
        if best is None or difference < best[0]:
            best = (difference, axes)
    return best
