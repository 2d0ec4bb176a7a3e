"""What quantization-aware training draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from edgekit.core.signature import ModelSignature
from edgekit.data.contract import Labels
from edgekit.data.model_inputs import InputBatch, ModelInputs
from edgekit.errors import InputError
from edgekit.training.devices import moved

type Inputs = Tensor | tuple[Tensor, ...]
"""One tensor for a model with one input, else one an input in the order of the signature."""

UNLABELLED = -1
"""Class index of a sample without a label."""
_IN_MEMORY_BYTES = 2 << 30
"""Decoded data sets up to this size are decoded once; larger ones in every epoch."""
_READ_BATCH = 256


class QatSamples(Protocol):
    """Samples that can be taken in any order; `edgekit.training.samples.Samples` are such."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Gives the samples at ``order`` as inputs and ``int64`` class indices.

        Args:
            order: Positions, in the order wanted.
            batch_size: Samples a batch; any of them may be smaller.
        """


@dataclass(frozen=True, slots=True)
class UnlabelledSamples:
    """Inputs of a model without labels, held in memory.

    Attributes:
        inputs: One tensor an input of the model; first axes count the samples.
    """

    inputs: tuple[Tensor, ...]

    def __post_init__(self) -> None:
        counts = {len(item) for item in self.inputs}
        if len(counts) != 1:
            raise InputError(
                f"Inputs of one set of samples must be equally many; there are {sorted(counts)}"
            )

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.inputs[0])

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """See `QatSamples.batches`; all labels are `UNLABELLED`."""
        positions = torch.as_tensor(order, dtype=torch.int64)
        for part in torch.split(positions, batch_size):
            inputs = tuple(item[part] for item in self.inputs)
            yield inputs[0] if len(inputs) == 1 else inputs, torch.full((len(part),), UNLABELLED)


@dataclass(frozen=True, slots=True)
class StreamedSamples:
    """Samples of a data set, decoded whenever they are asked for.

    Attributes:
        source: Feeds for the model.
        signature: Its inputs.
        class_map: The model's class by that of the set; None where they are the same.
        whole: Whether the feeds of one sample are a whole run of the model, whose inputs then
            have no axis that counts samples.
    """

    source: ModelInputs
    signature: ModelSignature
    class_map: Labels | None
    whole: bool

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.source)

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """See `QatSamples.batches`."""
        for batch in self.source.batches(1 if self.whole else batch_size, order):
            inputs = tuple(self._tensor(batch, spec.name) for spec in self.signature.inputs)
            yield inputs[0] if len(inputs) == 1 else inputs, self._labels(batch)

    def _tensor(self, batch: InputBatch, name: str) -> Tensor:
        # A copy, because torch cannot tell that an array is read-only.
        tensor = torch.from_numpy(np.array(batch.feeds[name]))
        # A fixed batch is filled up by repeating the last sample.
        return tensor if self.whole else tensor[: batch.samples]

    def _labels(self, batch: InputBatch) -> Tensor:
        if batch.labels is None:
            return torch.full((batch.samples,), UNLABELLED)
        labels = batch.labels if self.class_map is None else self.class_map[batch.labels]
        return torch.from_numpy(np.array(labels, np.int64))


@dataclass(frozen=True, slots=True)
class DecodedSamples:
    """Samples of a data set that were decoded once.

    Attributes:
        inputs: One tensor an input; first axes count the samples.
        labels: ``int64[n]``.
        whole: See `StreamedSamples`; the first axes are then left out again.
    """

    inputs: tuple[Tensor, ...]
    labels: Tensor
    whole: bool

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """See `QatSamples.batches`."""
        positions = torch.as_tensor(order, dtype=torch.int64)
        for part in torch.split(positions, 1 if self.whole else batch_size):
            index = part[0] if self.whole else moved(part, self.inputs[0].device)
            inputs = tuple(item[index] for item in self.inputs)
            yield inputs[0] if len(inputs) == 1 else inputs, self.labels[part]

    @property
    def input_bytes(self) -> int:
        """Memory that the inputs take."""
        return sum(item.nbytes for item in self.inputs)

    def inputs_on(self, device: torch.device) -> DecodedSamples:
        """The same samples with their inputs on a device; labels stay on the CPU."""
        inputs = tuple(item.to(device) for item in self.inputs)
        return DecodedSamples(inputs, self.labels, self.whole)


def samples_of(
    source: ModelInputs, signature: ModelSignature, class_map: Labels | None
) -> QatSamples:
    """The samples of a data set, decoded once where they fit into memory.

    Args:
        source: Feeds for the model.
        signature: Its inputs.
        class_map: The model's class by that of the set; None where they are the same.

    Raises:
        InputError: If a sample is damaged or does not fit the model.
    """
    first = next(iter(source.batches(2, range(min(2, len(source))))))
    # Two samples were asked for: where one fills a run, and not because the batch is fixed to 1,
    # the inputs do not count samples.
    whole = first.samples == 1 and any(feed.shape[:1] != (1,) for feed in first.feeds.values())
    stream = StreamedSamples(source, signature, class_map, whole)
    sample_bytes = sum(feed.nbytes for feed in first.feeds.values()) / first.samples
    if sample_bytes * len(source) > _IN_MEMORY_BYTES:
        return stream
    inputs: list[tuple[Tensor, ...]] = []
    labels: list[Tensor] = []
    for feeds, targets in stream.batches(range(len(source)), _READ_BATCH):
        inputs.append(as_inputs(feeds))
        labels.append(targets)
    join = torch.stack if whole else torch.cat
    columns = tuple(join(column) for column in zip(*inputs, strict=True))
    return DecodedSamples(columns, torch.cat(labels), whole)


def as_inputs(inputs: Inputs) -> tuple[Tensor, ...]:
    """A tuple in either case."""
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
