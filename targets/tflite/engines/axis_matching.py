"""Finds out how a file of another converter stores the inputs and outputs of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.core.signature import Dim, ModelSignature, TensorSpec
from edgekit.core.target import RuntimeConfig, Session
from edgekit.errors import UnsupportedError
from edgekit.measure.feeds import random_feeds
from edgekit.targets.tflite.feeds import from_stored, to_stored
from edgekit.targets.tflite.model_file import read_model_file
from edgekit.targets.tflite.runtime import LiteRTSession
from edgekit.targets.tflite.stored_signature import NARROWED

if TYPE_CHECKING:
    import numpy.typing as npt

    type Array = npt.NDArray[Any]

type Axes = tuple[int, ...]
type Pair = tuple[TensorSpec, TensorSpec]
"""An input or output as the graph has it, and as the file has it."""

_SEED = 0
_MAX_TRIALS = 64


@dataclass(frozen=True, slots=True)
class Match:
    """How a file stores a graph's inputs and outputs.

    Attributes:
        signature: The graph's, with the file's ``stored_axes``; a dynamic dim that the file
            fixes has the file's size.
        inputs: Tensor index of each input in the file.
        outputs: Tensor index of each output.
        notes: What had to be decided.
    """

    signature: ModelSignature
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    notes: tuple[str, ...]


def match_signature(tflite: Path, reference: Session, what: str) -> Match:
    """Matches a .tflite file without edgekit's metadata with the graph it came from.

    Tensors are matched by name, or by position where the names differ. An axis order is
    kept unchanged or has the channels last, whichever fits the stored shape; where both
    fit, all combinations are executed and the one nearest to the reference is taken.

    Args:
        tflite: The file.
        reference: Runs the graph.
        what: How messages call the file.

    Raises:
        UnsupportedError: If LiteRT cannot run the file, or its inputs or outputs are not
            those of the graph.
    """
    file = read_model_file(tflite)
    session = LiteRTSession(tflite, RuntimeConfig())
    try:
        stored, wanted = session.signature, reference.signature
        into = _pair(wanted.inputs, stored.inputs, f"inputs of {what}")
        out = _pair(wanted.outputs, stored.outputs, f"outputs of {what}")
        options = [_candidates(pair, what) for pair in (*into, *out)]
        chosen = [candidates[0] for candidates in options]
        notes = _notes(into, out, options)
        if any(len(candidates) > 1 for candidates in options):
            trial = _Trial(session, reference, into, out)
            chosen = trial.best(options)
    finally:
        session.close()
    pairs = zip((*into, *out), chosen, strict=True)
    specs = [_resolved(wanted_spec, found, axes) for (wanted_spec, found), axes in pairs]
    input_index = dict(file.named_inputs())
    output_index = dict(file.named_outputs())
    return Match(
        signature=ModelSignature(
            inputs=tuple(specs[: len(into)]), outputs=tuple(specs[len(into) :])
        ),
        inputs=tuple(input_index[found.name] for _, found in into),
        outputs=tuple(output_index[found.name] for _, found in out),
        notes=notes,
    )


def _pair(
    wanted: Sequence[TensorSpec], stored: Sequence[TensorSpec], what: str
) -> tuple[Pair, ...]:
    """Pairs by name, or by position where the names differ."""
    if len(wanted) != len(stored):
        raise UnsupportedError(
            f"The graph has {len(wanted)} {what.split()[0]} ({_names(wanted)}), but the "
            f"{what} are {len(stored)} ({_names(stored)})."
        )
    by_name = {spec.name: spec for spec in stored}
    if set(by_name) == {spec.name for spec in wanted}:
        return tuple((spec, by_name[spec.name]) for spec in wanted)
    return tuple(zip(wanted, stored, strict=True))


def _names(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(spec.name for spec in specs)


def _candidates(pair: Pair, what: str) -> list[Axes]:
    """The axis orders that fit the stored shape, the likelier one first."""
    wanted, found = pair
    if found.dtype not in (wanted.dtype, NARROWED.get(wanted.dtype)):
        raise UnsupportedError(f"{wanted.name!r} is {wanted.dtype}, but {found.dtype} in {what}. ")
    rank = len(wanted.shape)
    kept = tuple(range(rank))
    orders = [kept]
    if rank >= 3:
        last = (0, *range(2, rank), 1)
        moved = [axis for axis in last if wanted.shape[axis] != 1]
        if moved != sorted(moved):
            orders = [last, kept]
        elif wanted.shape != tuple(wanted.shape[axis] for axis in last):
            # Only axes of size 1 change places: the data are the same, the shape is not.
            orders = [kept, last]
    fitting = [order for order in orders if _fits(wanted, found, order)]
    if not fitting:
        raise UnsupportedError(
            f"{wanted.name!r} has the shape {list(wanted.shape)}, but {list(found.shape)} in "
            f"{what}."
        )
    return fitting


def _fits(wanted: TensorSpec, found: TensorSpec, axes: Axes) -> bool:
    def same(size: Dim, stored: Dim) -> bool:
        return isinstance(size, str) or isinstance(stored, str) or size == stored

    return len(found.shape) == len(axes) and all(
        same(wanted.shape[axis], size) for axis, size in zip(axes, found.shape, strict=True)
    )


def _notes(
    into: Sequence[Pair], out: Sequence[Pair], options: Sequence[list[Axes]]
) -> tuple[str, ...]:
    notes = []
    renamed = [(wanted.name, found.name) for wanted, found in (*into, *out)]
    renamed = [(name, other) for name, other in renamed if name != other]
    if renamed:
        listed = ", ".join(f"{other!r} is {name!r}" for name, other in renamed)
        notes.append(f"The converter renamed tensors; matched by position: {listed}.")
    unclear = [
        wanted.name
        for (wanted, _), candidates in zip((*into, *out), options, strict=True)
        if len(candidates) > 1
    ]
    if unclear:
        notes.append(
            f"The axis order of {', '.join(map(repr, unclear))} does not follow from the "
            "shapes; it was found by comparison with ONNX Runtime."
        )
    return tuple(notes)


class _Trial:
    """Runs axis orders against the reference."""

    def __init__(
        self,
        session: LiteRTSession,
        reference: Session,
        into: Sequence[Pair],
        out: Sequence[Pair],
    ) -> None:
        self._session = session
        self._into = into
        self._out = out
        self._feeds = random_feeds(reference.signature, _SEED)
        self._expected = reference.run(self._feeds)

    def best(self, options: Sequence[list[Axes]]) -> list[Axes]:
        """The combination with the smallest difference; the first where some are equal."""
        count = len(self._into)
        trials = list(product(*options[:count]))
        if len(trials) > _MAX_TRIALS:
            raise UnsupportedError(
                f"{len(trials)} combinations of axis orders fit the inputs, more than the "
                f"{_MAX_TRIALS} that are tried."
            )
        results = [self._try(orders, options[count:]) for orders in trials]
        place = min(range(len(trials)), key=lambda index: results[index][0])
        return [*trials[place], *results[place][1]]

    def _try(
        self, orders: Sequence[Axes], options: Sequence[list[Axes]]
    ) -> tuple[float, list[Axes]]:
        """Largest difference over the outputs, each in its best order."""
        feeds = {
            found.name: to_stored(
                _with_axes(wanted, axes), self._feeds[wanted.name], np.dtype(found.dtype)
            )
            for (wanted, found), axes in zip(self._into, orders, strict=True)
        }
        outputs = self._session.run(feeds)
        worst = 0.0
        chosen = []
        for (wanted, found), candidates in zip(self._out, options, strict=True):
            differences = [self._difference(wanted, outputs[found.name], c) for c in candidates]
            smallest = min(differences)
            worst = max(worst, smallest)
            chosen.append(candidates[differences.index(smallest)])
        return worst, chosen

    def _difference(self, wanted: TensorSpec, output: Array, axes: Axes) -> float:
        expected = self._expected[wanted.name].astype(np.float64)
        got = from_stored(_with_axes(wanted, axes), output).astype(np.float64)
        if got.shape != expected.shape:
            return inf
        difference = float(np.abs(got - expected).max(initial=0.0))
        return difference / (float(np.abs(expected).max(initial=0.0)) or 1.0)


def _with_axes(spec: TensorSpec, axes: Axes) -> TensorSpec:
    unchanged = axes == tuple(range(len(axes)))
    return spec.model_copy(update={"stored_axes": None if unchanged else axes})


def _resolved(wanted: TensorSpec, found: TensorSpec, axes: Axes) -> TensorSpec:
    """The graph's spec with ``axes``; sizes that the file fixes are fixed."""
    shape = list(wanted.shape)
    for axis, size in zip(axes, found.shape, strict=True):
        if isinstance(size, int):
            shape[axis] = size
    return _with_axes(wanted.model_copy(update={"shape": tuple(shape)}), axes)
