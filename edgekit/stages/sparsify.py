"""Stage sparsify: a canonical graph to one of the same shapes with weights that are 0."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.pruning_summary import LayerZeros, SparsifySummary, UnprunedLayers
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files
from edgekit.training.pruning.sparsify_options import SparsifyOptions

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.graph.torch_twin import TorchTwin
    from edgekit.training.estimated_norms import StatisticsData
    from edgekit.training.pruning.report import KeptWhole

_LEVEL = 9


class SparsifyStageConfig(StageConfig):
    """Options of the stage."""

    step: str = Field("sparsify", description="Name of the step, for the report.")
    data: DataSpec | None = Field(None, description="Data set for statistics.")
    options: SparsifyOptions = Field(
        default_factory=SparsifyOptions, description="What becomes 0."
    )


class SparsifyStage:
    """Unstructured and N:M pruning of any imported network, through its torch form."""

    name: ClassVar[str] = "sparsify"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX})
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "model": ArtifactKind.ONNX,
        "summary": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = (
        "numpy", "onnx", "onnx-ir", "pillow", "scikit-learn", "torch",
    )  # fmt: skip

    @property
    def config_type(self) -> type[SparsifyStageConfig]:
        """Type of the options."""
        return SparsifyStageConfig

    def external_files(self, config: SparsifyStageConfig) -> tuple[Path, ...]:
        """The files of the data set."""
        return () if config.data is None else data_files(config.data)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: SparsifyStageConfig
    ) -> StageResult:
        """Makes weights 0 and writes ``model.onnx`` and a `SparsifySummary`.

        Raises:
            ConfigError: If the share leaves a layer empty, or a pattern names no layer.
            UnsupportedError: If no layer can be made sparse, or the graph is quantized.
            InputError: If the data set is missing or does not fit.
        """
        from edgekit.graph.io import load_onnx, read_metadata, save_onnx, signature_of
        from edgekit.graph.torch_twin import build_twin, write_back
        from edgekit.training.determinism import deterministic
        from edgekit.training.estimated_norms import EstimatedNorms, open_statistics
        from edgekit.training.pruning.sparse_layers import check_sparsifiable, make_sparse

        model = load_onnx(inputs["model"].path)
        data = None
        with deterministic(context.seed, 1):
            twin = build_twin(model)
            check_sparsifiable(twin, config.options)
            if config.data is not None:
                count = config.options.statistics_samples
                data = open_statistics(model, config.data, count, "sparsify")
            norms = EstimatedNorms(twin, data)
            dense = make_sparse(twin, config.options)
            # Folding multiplies whole channels with positive factors: zeros stay zeros.
            errors = norms.fold()
        path = context.workdir / "model.onnx"
        sparse = write_back(twin, model)
        save_onnx(sparse, path)
        sizes = (compressed_bytes(model), compressed_bytes(sparse))
        summary = _summary(config, twin, dense, sizes, data, errors)
        summary_path = context.workdir / "sparsify.json"
        summary_path.write_text(summary.model_dump_json(), encoding="utf-8")
        made = Artifact.of(
            ArtifactKind.ONNX,
            path,
            signature=signature_of(sparse),
            metadata=read_metadata(sparse),
        )
        return StageResult(
            artifacts={
                "model": made,
                "summary": Artifact.of(ArtifactKind.METRICS, summary_path),
            },
            metrics={"sparsify": summary.model_dump(mode="json")},
            notes=_notes(dense, config),
        )


def compressed_bytes(model: ir.Model) -> int:
    """Size of all float32 constants of a graph, deflated one after the other.

    Args:
        model: Its initializers are taken in their order, as little-endian float32.

    Returns:
        Bytes that zlib makes of them at level 9; what a compressed download has of the weights.
    """
    deflate = zlib.compressobj(_LEVEL)
    size = 0
    for value in model.graph.initializers.values():
        array = None if value.const_value is None else value.const_value.numpy()
        if array is not None and array.dtype == np.float32:
            size += len(deflate.compress(array.astype("<f4").tobytes()))
    return size + len(deflate.flush())


def _summary(
    config: SparsifyStageConfig,
    twin: TorchTwin,
    dense: tuple[KeptWhole, ...],
    sizes: tuple[int, int],
    data: StatisticsData | None,
    errors: tuple[float, float] | None,
) -> SparsifySummary:
    from edgekit.training.pruning.sparse_layers import all_zeros, zeros_of

    options = config.options
    zeros, weights = all_zeros(twin)
    return SparsifySummary(
        step=config.step,
        sparsity=options.share,
        pattern=options.pattern or "",
        scope=options.scope,
        layers=tuple(
            LayerZeros(layer=item.layer, zeros=item.zeros, weights=item.weights)
            for item in zeros_of(twin)
        ),
        dense=tuple(UnprunedLayers(layers=item.layers, reason=item.reason) for item in dense),
        zeros=zeros,
        weights=weights,
        compressed_bytes=sizes,
        dataset="" if data is None or not data.order else data.name,
        samples=0 if data is None else len(data.order),
        output_error=errors,
    )


def _notes(dense: tuple[KeptWhole, ...], config: SparsifyStageConfig) -> tuple[Note, ...]:
    notes = [
        Note(where=", ".join(item.layers), text=f"Left dense: {item.reason}") for item in dense
    ]
    if config.data is None and config.options.statistics_samples:
        text = (
            "There is no data set, so the statistics of the layers were not estimated anew; the "
            "sparse network is further from its parent than it need be"
        )
        notes.append(Note(level="warning", text=text))
    return tuple(notes)
