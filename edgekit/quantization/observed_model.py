"""The float graph with inner values as outputs, run batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.graph.reference import ReferenceSession, check_feeds
from edgekit.graph.signature import static_shape
from edgekit.graph.values import Array

_RUN_BYTES = 256 << 20
"""Observed elements of one run; a larger batch is run in parts."""


class ObservedModel:
    """Runs a model and gives chosen values, whether outputs or not."""

    def __init__(self, model: ir.Model, names: Sequence[str]) -> None:
        """Loads the model.

        Args:
            model: Not modified.
            names: Values to give: inputs, outputs or inner values.
        """
        working = ir.from_proto(ir.to_proto(model))
        values = {value.name: value for node in working.graph for value in node.outputs}
        inputs = {value.name for value in working.graph.inputs}
        outputs = {value.name for value in working.graph.outputs}
        self._names = tuple(names)
        inner = [values[name] for name in names if name not in inputs | outputs]
        working.graph.outputs.extend(inner)
        self._session = ReferenceSession(working)
        self._rows = _rows_of_a_run([values[name] for name in names if name in values])
        self._dynamic = all(
            spec.shape and not isinstance(spec.shape[0], int)
            for spec in self._session.signature.inputs
        )

    def run(self, feeds: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        """Runs one batch, in parts where it is large, and gives the values of each part.

        Raises:
            InputError: If a feed does not fit the model's inputs.
        """
        check_feeds(self._session.signature.inputs, feeds)
        for part in self._parts(feeds):
            results = {**part, **self._session.run(part)}
            yield {name: results[name] for name in self._names}

    def _parts(self, feeds: Mapping[str, Array]) -> Iterator[Mapping[str, Array]]:
        sizes = {array.shape[0] for array in feeds.values() if array.ndim}
        if not self._dynamic or len(sizes) != 1 or max(sizes) <= self._rows:
            yield feeds
            return
        for start in range(0, max(sizes), self._rows):
            yield {name: array[start : start + self._rows] for name, array in feeds.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()


def _rows_of_a_run(values: Sequence[ir.Value]) -> int:
    """Samples of which the observed values stay within the limit; the first dim is the batch."""
    elements = 0
    for value in values:
        if value.shape is not None:
            static = static_shape(value)
            sizes = [dim for dim in value.shape if isinstance(dim, int)]
            elements += int(np.prod(sizes[1:] if static else sizes))
    return max(1, _RUN_BYTES // max(1, 4 * elements))


def check_finite(feeds: Mapping[str, Array], batch: int) -> None:
    """Refuses NaN and infinity in the inputs.

    Raises:
        InputError: Naming the input and the batch, counted from 0.
    """
    for name, array in feeds.items():
        if not np.issubdtype(array.dtype, np.floating):
            continue
        broken = array.size - int(np.count_nonzero(np.isfinite(array)))
        if broken:
            raise InputError(
                f"Calibration batch {batch} holds {broken} NaN or infinite elements in input "
                f"{name!r}. Remove the damaged samples from the calibration set"
            )
