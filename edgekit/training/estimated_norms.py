"""Statistics of an imported graph taken anew, and kept where they help.

Who makes channels or weights go changes what every layer sums up. With the norms of
`restored_norms` mean and variance of what is left can be estimated anew, as BatchNorm would
have them; whether that brings the network nearer to its parent is measured, since one that was
trained without BatchNorm may be nearer as it is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import onnx_ir as ir
import torch

from edgekit.data.datasets import DataSpec
from edgekit.data.image_set import spread
from edgekit.data.model_inputs import ModelInputs, open_inputs
from edgekit.errors import InputError
from edgekit.graph.io import read_metadata, signature_of
from edgekit.graph.torch_twin import TorchTwin
from edgekit.measure.class_names import match_classes
from edgekit.training.qat.batching import batch_runner
from edgekit.training.qat.losses import VarianceSums, imitation_loss
from edgekit.training.qat.samples import QatSamples, as_inputs, samples_of
from edgekit.training.restored_norms import estimate_norms, fold_norms, restore_norms

_BATCH = 64


@dataclass(frozen=True, slots=True)
class StatisticsData:
    """Samples that statistics come from.

    Attributes:
        name: Of the data set with its split.
        samples: All of it, with the model's own class indices.
        order: Positions of the samples that statistics are estimated with; may be empty.
        labelled: True where the samples have classes.
    """

    name: str
    samples: QatSamples
    order: list[int]
    labelled: bool


def open_statistics(model: ir.Model, data: DataSpec, count: int, section: str) -> StatisticsData:
    """Opens a data set for a graph.

    Args:
        model: A canonical graph, whose inputs the samples become.
        data: The set.
        count: Samples to estimate with, spread over the set; 0 for none.
        section: Name of the stage's section, for the error.

    Raises:
        InputError: If the set is missing, does not fit, or has too few samples.
    """
    signature, metadata = signature_of(model), read_metadata(model)
    source: ModelInputs = open_inputs(data, signature, metadata.preprocessing)
    class_map, _ = match_classes(source.classes, metadata.labels)
    samples = samples_of(source, signature, class_map)
    order = spread(len(samples), count).tolist()
    if count and len(order) < 2:
        raise InputError(
            f"{source.name} has {len(samples)} samples; statistics need at least 2. Name another "
            f"set, or set {section}.statistics_samples to 0"
        )
    return StatisticsData(source.name, samples, order, bool(source.classes))


class EstimatedNorms:
    """The statistics of one twin, before and after something is taken from it.

    Without samples it does nothing.
    """

    def __init__(self, twin: TorchTwin, data: StatisticsData | None) -> None:
        """Puts norms into the twin, which computes what it did.

        Args:
            twin: Of a float graph; changed in place, and fits its graph again after `fold`.
            data: Samples to estimate with; None for none.
        """
        self._twin = twin
        self._data = data if data is not None and data.order else None
        self._wanted: list[tuple[torch.Tensor, ...]] = []
        if self._data is not None:
            self._wanted = self._run_batches(twin)
            restore_norms(twin, self._run_batches)

    def fold(self) -> tuple[float, float] | None:
        """Estimates anew, keeps that where the outputs come nearer, and folds the norms.

        Returns:
            Squared error of the outputs beside those of before, as a share of their variance:
            without the new statistics, and with them. None without samples.
        """
        if self._data is None:
            return None
        before = self._error()
        state = copy.deepcopy(self._twin.state_dict())
        estimate_norms(self._twin, self._run_batches)
        after = self._error()
        if after >= before:
            self._twin.load_state_dict(state)
        fold_norms(self._twin)
        return before, after

    def _error(self) -> float:
        sums = VarianceSums()
        for outputs in self._wanted:
            sums.add(outputs)
        variances = sums.variances()
        self._twin.eval()
        errors = [
            float(imitation_loss(found, outputs, variances))
            for found, outputs in zip(self._run_batches(self._twin), self._wanted, strict=True)
        ]
        return sum(errors) / len(errors)

    def _run_batches(self, twin: TorchTwin) -> list[tuple[torch.Tensor, ...]]:
        """Outputs of all batches."""
        assert self._data is not None
        samples, order = self._data.samples, self._data.order
        runner = batch_runner((twin,), samples)
        size = runner.piece(_BATCH)
        with torch.no_grad():
            return [
                runner.outputs(twin, as_inputs(inputs))
                for inputs, _ in samples.batches(order, size)
            ]
