"""What quantization-aware training draws its batches from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from edgekit.core.signature import ModelSignature
from edgekit.errors import InputError

type Inputs = Tensor | tuple[Tensor, ...]
"""One tensor for a model with one input, else one an input in the order of the signature."""


class QatSamples(Protocol):
    """Samples that can be taken in any order; `edgekit.training.samples.Samples` are such."""

    def __len__(self) -> int:
        """Number of samples."""

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Gives the samples at ``order`` as inputs and ``int64`` class indices.

        Args:
            order: Positions, in the order wanted.
            batch_size: Samples a batch; the last one may be smaller.
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
        """See `QatSamples.batches`; all labels are -1."""
        positions = torch.as_tensor(order, dtype=torch.int64)
        for part in torch.split(positions, batch_size):
            inputs = tuple(item[part] for item in self.inputs)
            yield inputs[0] if len(inputs) == 1 else inputs, torch.full((len(part),), -1)


def as_inputs(inputs: Inputs) -> tuple[Tensor, ...]:
    """A tuple in either case."""
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)


def fixed_batch(signature: ModelSignature) -> int | None:
    """The batch that the graph's inputs are fixed to; None when it is symbolic."""
    sizes = [spec.shape[0] for spec in signature.inputs if spec.shape]
    return next((size for size in sizes if isinstance(size, int)), None)
