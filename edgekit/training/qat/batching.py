"""Running a twin on any number of samples, whatever batch its graph was fixed to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.data.model_inputs import fixed_batch
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.qat.samples import QatSamples, as_inputs

_TOLERANCE = 0.02
"""Share of an output's range by which samples may differ together and alone: sums in another
order may change a rounding to 8 bits."""


@dataclass(frozen=True, slots=True)
class BatchRunner:
    """Runs a model on samples.

    Attributes:
        fixed: Batch that the model must be run with; None where any will do.
    """

    fixed: int | None

    def outputs(self, model: TorchTwin, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The model's outputs; a batch that is too short is filled up and cut off again."""
        rows = len(inputs[0]) if inputs[0].ndim else 1
        if self.fixed is None or rows >= self.fixed:
            return model.outputs(*inputs)
        missing = self.fixed - rows
        filled = tuple(
            torch.cat([item, item[-1:].expand(missing, *item.shape[1:])]) for item in inputs
        )
        found = model.outputs(*filled)
        return tuple(
            item[:rows] if item.ndim and len(item) == self.fixed else item for item in found
        )

    def piece(self, wanted: int) -> int:
        """Samples in one run where ``wanted`` are to be run."""
        return wanted if self.fixed is None else self.fixed


def batch_runner(models: Sequence[TorchTwin], samples: QatSamples) -> BatchRunner:
    """Finds out whether the batch of a graph is fixed by more than its signature.

    Most graphs that were exported with a batch of 1 compute the same for many samples at once,
    which is many times faster; a Reshape to constant sizes, for example, does not.

    Args:
        models: With the same inputs; all of them have to accept other batches.
        samples: At least one; two of them are tried together.
    """
    fixed = fixed_batch(models[0].signature)
    if fixed is None or len(samples) < 2 * fixed:
        return BatchRunner(fixed)
    parts = [as_inputs(inputs) for inputs, _ in samples.batches(range(2 * fixed), fixed)]
    if len(parts) != 2:
        return BatchRunner(fixed)
    with torch.no_grad():
        free = all(_accepts(model, parts) for model in models)
    return BatchRunner(None if free else fixed)


def _accepts(model: TorchTwin, parts: Sequence[tuple[Tensor, ...]]) -> bool:
    """Whether two batches together give what they give one after the other."""
    together = tuple(torch.cat(pair) for pair in zip(*parts, strict=True))
    alone = [model.outputs(*inputs) for inputs in parts]
    try:
        # Not by calling the module, which prints what goes wrong.
        found = model.graph_module.forward(*together)
    except (RuntimeError, IndexError, ValueError):
        # What torch raises for sizes that do not go together.
        return False
    return all(
        _same(actual, *pair) for actual, pair in zip(found, zip(*alone, strict=True), strict=True)
    )


def _same(actual: Tensor, first: Tensor, second: Tensor) -> bool:
    if not actual.ndim or len(actual) != len(first) + len(second):
        return False
    expected = torch.cat([first, second])
    if actual.shape != expected.shape or not actual.is_floating_point():
        return actual.shape == expected.shape and torch.equal(actual, expected)
    if not actual.numel():
        return True
    low, high = torch.aminmax(expected)
    return bool((actual - expected).abs().max() <= _TOLERANCE * (high - low))
