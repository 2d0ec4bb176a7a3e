"""What the trainer draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


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
            yield self.inputs[part], self.labels[part]
