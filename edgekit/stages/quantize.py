"""Stage quantize: a canonical graph and calibration data to a QDQ graph, without training."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files, open_dataset
from edgekit.errors import InputError, InternalError, UnsupportedError
from edgekit.quantization.options import QuantizeOptions

if TYPE_CHECKING:
    from edgekit.core.metadata import ModelMetadata
    from edgekit.quantization.calibration import Feeds

_SHOWN_FLOAT_REASONS = 20


class QuantizeConfig(StageConfig):
    """Options of the stage."""

    calibration: DataSpec = Field(description="Data set that activation ranges are taken from.")
    options: QuantizeOptions = Field(default_factory=QuantizeOptions, description="How.")


class QuantizationSummary(FrozenModel):
    """What the stage found, for the report.

    Attributes:
        scheme: Name of the scheme.
        trials: Everything that was tried; one of them was chosen.
        float_nodes: Nodes that stay float, with the reason.
        samples: Calibration samples.
    """

    scheme: str
    trials: tuple[dict[str, Any], ...]
    float_nodes: dict[str, str]
    samples: int


class QuantizeStage:
    """Post-training quantization; gives the QDQ graph that every target lowers from."""

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.ONNX})
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {
        "model": ArtifactKind.QDQ_ONNX,
        "summary": ArtifactKind.METRICS,
    }
    tools: ClassVar[tuple[str, ...]] = ("numpy", "onnx", "onnx-ir", "onnxruntime", "torch")

    @property
    def config_type(self) -> type[QuantizeConfig]:
        """Type of the options."""
        return QuantizeConfig

    def external_files(self, config: QuantizeConfig) -> tuple[Path, ...]:
        """The files of the calibration set."""
        return data_files(config.calibration)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: QuantizeConfig
    ) -> StageResult:
        """Calibrates, places Q/DQ pairs and writes ``model.qdq.onnx``.

        Raises:
            InputError: If the calibration data is empty, damaged or does not fit the model.
            ConfigError: If the overrides contradict each other or match nothing.
        """
        from edgekit.graph.io import load_onnx, read_metadata, save_onnx, signature_of
        from edgekit.quantization.ptq import PtqOptions, quantize_ptq

        source, options = inputs["model"], config.options
        model = load_onnx(source.path)
        signature, metadata = signature_of(model), read_metadata(model)
        result = quantize_ptq(
            model,
            calibration_feeds(config, signature, metadata),
            options.quant_scheme(),
            PtqOptions(
                method=options.method,
                equalize=options.equalize,
                bias_correction=options.bias_correction,
                adaround=options.adaround,
                seed=context.seed,
            ),
            context.progress,
        )
        path = context.workdir / "model.qdq.onnx"
        save_onnx(result.model, path)
        float_nodes = dict(result.placement.float_reasons)
        summary = QuantizationSummary(
            scheme=options.scheme,
            trials=tuple(trial.model_dump(mode="json") for trial in result.table),
            float_nodes=float_nodes,
            samples=options.samples,
        )
        summary_path = context.workdir / "quantization.json"
        summary_path.write_text(json.dumps(summary.model_dump(mode="json")), encoding="utf-8")
        reasons = [
            Note(level="warning", where=node, text=f"stays in float32: {why}")
            for node, why in list(float_nodes.items())[:_SHOWN_FLOAT_REASONS]
        ]
        return StageResult(
            artifacts={
                "model": Artifact.of(
                    ArtifactKind.QDQ_ONNX,
                    path,
                    signature=signature,
                    metadata=metadata,
                    precision=options.scheme,
                ),
                "summary": Artifact.of(ArtifactKind.METRICS, summary_path),
            },
            metrics={"quantization": summary.model_dump(mode="json")},
            notes=(*result.notes, *reasons),
        )


def calibration_feeds(
    config: QuantizeConfig, signature: ModelSignature, metadata: ModelMetadata
) -> Callable[[], Iterator[Feeds]]:
    """Starts passes over the calibration data, the same batches each time.

    Raises:
        UnsupportedError: If the model has several inputs, which no data set here can feed.
        InputError: If the data set is missing, damaged or empty.
    """
    if len(signature.inputs) != 1:
        raise UnsupportedError(
            f"The model has {len(signature.inputs)} inputs; calibration data for more than one "
            "input cannot be read yet. Quantize a model with one input."
        )
    (spec,) = signature.inputs
    data = config.calibration
    limit = min(config.options.samples, data.limit or config.options.samples)
    dataset = open_dataset(data.model_copy(update={"limit": limit}))
    if len(dataset) == 0:
        raise InputError(f"The calibration set {dataset.name!r} is empty.")
    fixed = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else None
    batch = config.options.batch if fixed is None else fixed
    preprocessing = None if dataset.fed_raw else metadata.preprocessing

    def start() -> Iterator[Feeds]:
        for item in dataset.batches(preprocessing, spec, batch):
            yield {spec.name: item.inputs}

    if batch < 1:
        raise InternalError(f"input {spec.name!r} has a batch of {batch}")
    return start
