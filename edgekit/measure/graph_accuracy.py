"""Top-1 accuracy of graphs that differ in how they are quantized, on the same samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from edgekit.core.progress import Progress, SilentProgress
from edgekit.data.model_inputs import ModelInputs
from edgekit.errors import InputError
from edgekit.graph.signature import signature_of
from edgekit.measure.class_names import match_classes
from edgekit.measure.class_scores import class_output, class_scores
from edgekit.quantization.quality import simulate

_BATCH = 32


class GraphAccuracy:
    """Top-1 accuracy of a graph as it is written, Q/DQ pairs included, in ONNX Runtime.

    Attributes:
        samples: Number of samples it is measured on.
    """

    def __init__(
        self,
        inputs: ModelInputs,
        order: Sequence[int],
        model_labels: tuple[str, ...] = (),
        progress: Progress | None = None,
    ) -> None:
        """Fixes the samples.

        Args:
            inputs: Labelled samples.
            order: Positions of those to measure on.
            model_labels: Class names by output index as the model declares them.
            progress: Receives the advance of each measurement.

        Raises:
            InputError: If the set has no labels, or there are no samples.
        """
        if not inputs.classes:
            raise InputError(f"Data set {inputs.name!r} has no labels to measure accuracy with.")
        if not order:
            raise InputError(f"Data set {inputs.name!r} leaves no samples to measure accuracy on.")
        self._inputs = inputs
        self._order = tuple(order)
        self._class_map, _ = match_classes(inputs.classes, model_labels)
        self._progress = progress or SilentProgress()
        self.samples = len(self._order)

    def __call__(self, model: ir.Model) -> float:
        """Share of the samples whose highest score is their class.

        Raises:
            InputError: If the model is no classifier of these classes.
            VerificationError: If it gives NaN.
        """
        output = class_output(signature_of(model))
        session = simulate(model)
        hits = done = 0
        self._progress.start("accuracy", self.samples)
        try:
            for batch in self._inputs.batches(_BATCH, self._order):
                assert batch.labels is not None
                values = session.run(batch.feeds)[output.name]
                if len(values) > batch.samples:
                    values = values[: batch.samples]
                scores = class_scores(values, output, batch.samples, done)
                wanted = batch.labels if self._class_map is None else self._class_map[batch.labels]
                hits += int((scores.argmax(axis=1) == wanted).sum())
                done += batch.samples
                self._progress.advance(batch.samples)
        finally:
            self._progress.finish()
            session.close()
        return hits / done

    def noise(self, value: float) -> float:
        """Standard error of a share: ``sqrt(p (1 - p) / n)``."""
        return math.sqrt(value * (1.0 - value) / self.samples)
