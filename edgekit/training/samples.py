"""What the trainer draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from edgekit.training.devices import fits, moved


class Samples(Protocol):
    """Labelled samples that can be taken in any order."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Gives the samples at ``order`` as inputs and ``int64`` class indices.

        Args:
            order: Positions, in the order wanted.
            batch_size: Samples a batch; the last one may be smaller.
        """


@runtime_checkable
class HeldSamples(Samples, Protocol):
    """Samples that are held in memory as they are."""

    @property
    def labels(self) -> Tensor:
        """``int64[n]``, on the CPU."""

    @property
    def input_bytes(self) -> int:
        """Memory that the inputs take."""

    def inputs_on(self, device: torch.device) -> Samples:
        """The same samples with their inputs on a device; labels stay on the CPU."""


def resident(samples: Samples, device: torch.device) -> Samples:
    """Puts inputs that are held in memory onto a GPU for good, where they take little of it."""
    if isinstance(samples, HeldSamples) and fits(samples.input_bytes, device):
        return samples.inputs_on(device)
    return samples


@dataclass(frozen=True, slots=True)
class TensorSamples:
    """Samples that are held in memory.

    Attributes:
        inputs: First axis counts the samples.
        labels: ``int64[n]``.
    """

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.labels)

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Samples.batches`."""
        positions = torch.as_tensor(order, dtype=torch.int64)
        for part in torch.split(positions, batch_size):
            yield self.inputs[moved(part, self.inputs.device)], self.labels[part]

    @property
    def input_bytes(self) -> int:
        """See `HeldSamples.input_bytes`."""
        return self.inputs.nbytes

    def inputs_on(self, device: torch.device) -> TensorSamples:
        """See `HeldSamples.inputs_on`."""
        return TensorSamples(self.inputs.to(device), self.labels)
