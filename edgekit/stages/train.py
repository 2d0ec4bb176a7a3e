"""Stage train: a torch module and a data set to trained weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.run_summary import TrainingSummary
from edgekit.core.signature import TensorSpec
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import Dataset, DataSpec, data_files, open_dataset
from edgekit.measure.class_names import match_classes
from edgekit.training.config import TrainConfig
from edgekit.training.module_sources import module_sources

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from edgekit.training.samples import Samples

_IN_MEMORY_BYTES = 2 << 30
"""Decoded data sets up to this size are decoded once; larger ones in every epoch."""


class TrainStageConfig(StageConfig):
    """Options of the stage."""

    source: str = Field(description="file.py:factory or package.module:factory.")
    weights: Path | None = Field(None, description="Weights to start from.")
    input: TensorSpec = Field(description="The module's input, with its batch as first axis.")
    preprocessing: AnyPreprocessing | None = Field(
        None, description="How an image or a recording becomes the input."
    )
    labels: tuple[str, ...] = Field((), description="Class names in the order of the output.")
    data: DataSpec = Field(description="Data set to train with.")
    options: TrainConfig = Field(default_factory=TrainConfig, description="How to train.")


class TrainStage:
    """Trains the torch module that the project imports."""

    name: ClassVar[str] = "train"
    version: ClassVar[int] = 3
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "weights": ArtifactKind.WEIGHTS,
        "curve": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = (
        "numpy",
        "pillow",
        "safetensors",
        "scikit-learn",
        "torch",
    )

    @property
    def config_type(self) -> type[TrainStageConfig]:
        """Type of the options."""
        return TrainStageConfig

    def external_files(self, config: TrainStageConfig) -> tuple[Path, ...]:
        """The module's code, the weights to start from and the data set's files."""
        weights = () if config.weights is None else (config.weights,)
        return (*module_sources(config.source), *weights, *data_files(config.data))

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: TrainStageConfig
    ) -> StageResult:
        """Trains and writes the weights and a `TrainingSummary`.

        Raises:
            InputError: If the module, the weights or the data are missing or do not fit.
            GateError: If the training diverges.
        """
        from edgekit.graph.importers.torch_module import build_module
        from edgekit.graph.importers.weights import load_weights
        from edgekit.training.trainer import train

        dataset = open_dataset(config.data)
        class_map, warnings = match_classes(dataset.labels, config.labels)
        model = build_module(config.source)
        if config.weights is not None:
            load_weights(model, config.weights)
        samples = _samples(dataset, config, class_map)
        found = train(
            model, samples, config.options, context.seed, context.progress, context.checkpoints
        )
        summary = TrainingSummary(
            dataset=f"{dataset.name}/{dataset.split}",
            curve=found.curve,
            kept_epoch=found.kept_epoch,
            parameters=sum(item.numel() for item in model.parameters() if item.requires_grad),
            optimizer=config.options.optimizer,
        )
        weights = _write_weights(model, context.workdir / "weights.safetensors")
        path = context.workdir / "curve.json"
        path.write_text(summary.model_dump_json(), encoding="utf-8")
        return StageResult(
            artifacts={
                "weights": Artifact.of(ArtifactKind.WEIGHTS, weights),
                "curve": Artifact.of(ArtifactKind.METRICS, path),
            },
            metrics={"training": found.curve[-1].model_dump(mode="json")},
            notes=tuple(Note(level="warning", text=text) for text in warnings),
        )


def _write_weights(model: torch.nn.Module, path: Path) -> Path:
    from safetensors.torch import save_file

    # Cloned, because safetensors refuses tensors that share memory (tied weights).
    state = {name: item.detach().clone().contiguous() for name, item in model.state_dict().items()}
    save_file(state, path)
    return path


def _samples(
    dataset: Dataset, config: TrainStageConfig, class_map: npt.NDArray[np.int64] | None
) -> Samples:
    from edgekit.training.samples import TensorSamples

    stream = _StreamedSamples(dataset, config.preprocessing, config.input, class_map)
    sample_bytes = 4 * math.prod(config.input.concrete_shape()[1:])
    if sample_bytes * len(dataset) > _IN_MEMORY_BYTES:
        return stream
    inputs, labels = next(iter(stream.batches(range(len(dataset)), len(dataset))))
    return TensorSamples(inputs, labels)


@dataclass(frozen=True, slots=True)
class _StreamedSamples:
    """Decodes samples whenever they are asked for."""

    dataset: Dataset
    preprocessing: AnyPreprocessing | None
    spec: TensorSpec
    class_map: npt.NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.dataset)

    def batches(
        self, order: Sequence[int], batch_size: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        import torch

        batches = self.dataset.batches(self.preprocessing, self.spec, batch_size, order=order)
        for batch in batches:
            labels = batch.labels if self.class_map is None else self.class_map[batch.labels]
            yield torch.from_numpy(batch.inputs), torch.from_numpy(labels)
