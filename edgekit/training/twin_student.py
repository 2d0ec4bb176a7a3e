"""A torch twin in the form that the trainer takes, whatever batch its graph was fixed to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.training.qat.batching import BatchRunner
from edgekit.training.qat.losses import SMALLEST_PROBABILITY, gives_probabilities
from edgekit.training.qat.task import class_output_index, class_scores_of


class TwinStudent(nn.Module):
    """Gives class scores before softmax, or all outputs.

    Attributes:
        twin: The network, with one input.
    """

    def __init__(self, twin: TorchTwin, runner: BatchRunner, *, classifies: bool) -> None:
        """Wraps a twin.

        Args:
            twin: With one input; trained in place.
            runner: Runs it on any number of samples.
            classifies: Gives the class scores alone, as scores before softmax.
        """
        super().__init__()
        self.twin = twin
        self._runner = runner
        self._output = class_output_index(twin.signature) if classifies else None
        self._probabilities = classifies and gives_probabilities(twin, self._output or 0)

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Scores ``[N, classes]``, or a tuple of all outputs."""
        pieces = torch.split(inputs, self._runner.piece(len(inputs)))
        parts = [self._runner.outputs(self.twin, (piece,)) for piece in pieces]
        outputs = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        if self._output is None:
            return outputs
        scores = class_scores_of(outputs[self._output])
        if self._probabilities:
            scores = torch.log(scores.clamp(min=SMALLEST_PROBABILITY))
        return scores
