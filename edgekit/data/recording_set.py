"""Data sets of labelled recordings: order, selection and batching."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import Batch, Labels
from edgekit.data.image_set import check_batch_size
from edgekit.data.log_mel import LogMelFrontEnd
from edgekit.data.recording import Recording
from edgekit.errors import InputError


class RecordingSource(Protocol):
    """Where the recordings of a data set are decoded from."""

    def reader(self) -> AbstractContextManager[Callable[[int], Recording]]:
        """Opens the source; the value given reads the recording at a position.

        The reader raises `InputError`, naming the recording, if it is damaged.
        """


@dataclass(frozen=True, slots=True)
class RecordingSet:
    """Labelled recordings; see `edgekit.data.contract.Dataset` for the attributes.

    Attributes:
        name: Name of the data set.
        split: Part of it.
        labels: Class names by class index.
        files: What it is read from.
        source: Decodes the recordings.
        targets: Class of every recording of the source, ``int64[n]``.
        chosen: Positions in the source of the samples that the set gives.
        fed_raw: False; recordings are always preprocessed.
    """

    name: str
    split: str
    labels: tuple[str, ...]
    files: tuple[Path, ...]
    source: RecordingSource
    targets: Labels
    chosen: Labels
    fed_raw: bool = False

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.chosen)

    def batches(
        self,
        preprocessing: AnyPreprocessing | None,
        spec: TensorSpec,
        batch_size: int,
        *,
        order: Sequence[int] | Labels | None = None,
    ) -> Iterator[Batch]:
        """See `edgekit.data.contract.Dataset.batches`.

        Raises:
            InputError: If the model does not declare log-mel features, too.
        """
        check_batch_size(batch_size)
        if not isinstance(preprocessing, LogMel):
            declared = "declares none" if preprocessing is None else "is for images"
            raise InputError(
                f"Data set {self.name!r} holds recordings, but the preprocessing of the model "
                f'{declared}. Declare [model.preprocessing] with kind = "log-mel" in '
                "edgekit.toml, or in the file that --preprocessing names."
            )
        front_end = LogMelFrontEnd(preprocessing, spec)
        positions = self.chosen if order is None else self.chosen[np.asarray(order, np.int64)]
        return self._decode(front_end, positions, batch_size)

    def _decode(
        self, front_end: LogMelFrontEnd, positions: Labels, batch_size: int
    ) -> Iterator[Batch]:
        with self.source.reader() as read:
            for start in range(0, len(positions), batch_size):
                part = positions[start : start + batch_size]
                recordings = [read(int(position)) for position in part]
                yield Batch(inputs=front_end(recordings), labels=self.targets[part])
