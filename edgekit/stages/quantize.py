"""Stage quantize: a canonical graph and calibration data to a QDQ graph, without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.quant import SCHEMES
from edgekit.core.run_evidence import CalibratedRange
from edgekit.core.run_summary import LayerEffect, QuantizationSummary, QuantizationTrial
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files
from edgekit.data.image_set import spread
from edgekit.data.model_inputs import ModelInputs, open_inputs
from edgekit.errors import ConfigError, InputError
from edgekit.quantization.options import QuantizeOptions

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.metadata import ModelMetadata
    from edgekit.measure.graph_accuracy import GraphAccuracy
    from edgekit.quantization.calibration import Feeds
    from edgekit.quantization.placement import ValueGroup
    from edgekit.quantization.ptq_types import PtqOptions, PtqResult

_PERCENT = 100.0
_NEEDS_DATA = (
    "Scheme {scheme!r} quantizes activations, whose ranges are taken from real inputs, and no "
    "calibration data is named. Give --calibrate SET (section [quantize.calibration]); a few "
    "hundred samples do"
)


class QuantizeConfig(StageConfig):
    """Options of the stage."""

    scheme: str = Field("int8", description="Name of the quantization scheme.")
    calibration: DataSpec | None = Field(
        None, description="Data set that activation ranges are taken from."
    )
    options: QuantizeOptions = Field(default_factory=QuantizeOptions, description="How.")


class QuantizeStage:
    """Post-training quantization; gives the QDQ graph that every target lowers from."""

    name: ClassVar[str] = "quantize"
    version: ClassVar[int] = 6
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
        return () if config.calibration is None else data_files(config.calibration)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: QuantizeConfig
    ) -> StageResult:
        """Calibrates, places Q/DQ pairs and writes ``model.qdq.onnx``.

        A graph that is quantized already is kept as it is.

        Raises:
            InputError: If the calibration data is empty, damaged or does not fit the model.
            ConfigError: If the overrides contradict each other or match nothing, or data is
                needed and none is named.
        """
        from edgekit.graph.io import load_onnx, read_metadata, save_onnx, signature_of
        from edgekit.quantization.ptq import quantize_ptq

        model = load_onnx(inputs["model"].path)
        signature, metadata = signature_of(model), read_metadata(model)
        data = _data(model, config, metadata)
        metric = _metric(data, config, metadata)
        result = quantize_ptq(
            model,
            _calibration_feeds(data, config),
            config.options.quant_scheme(config.scheme),
            ptq_options(config.options, context.seed),
            context.progress,
            metric=metric,
        )
        path = context.workdir / "model.qdq.onnx"
        save_onnx(result.model, path)
        summary = _summary(config, data, metric, result)
        summary_path = context.workdir / "quantization.json"
        summary_path.write_text(summary.model_dump_json(), encoding="utf-8")
        return StageResult(
            artifacts={
                "model": Artifact.of(
                    ArtifactKind.QDQ_ONNX,
                    path,
                    signature=signature,
                    metadata=metadata,
                    precision=config.scheme,
                ),
                "summary": Artifact.of(ArtifactKind.METRICS, summary_path),
            },
            metrics={"quantization": summary.model_dump(mode="json")},
            notes=(*_notes(config, data, metric), *result.notes),
        )


def ptq_options(options: QuantizeOptions, seed: int) -> PtqOptions:
    """The options of the algorithm; a drop in points becomes a share."""
    from edgekit.quantization.ptq_types import PtqOptions

    shared = {name: getattr(options, name) for name in _SHARED}
    max_drop = None if options.max_drop is None else options.max_drop / _PERCENT
    return PtqOptions(**shared, max_drop=max_drop, seed=seed)


_SHARED = (
    "method", "percentile", "equalize", "bias_correction", "adaround", "sensitivity", "fallback",
)  # fmt: skip


def calibration_positions(total: int, samples: int) -> tuple[list[int], list[int]]:
    """Positions to calibrate with, spread evenly over a set, and all the others."""
    chosen = spread(total, samples)
    others = np.setdiff1d(np.arange(total), chosen)
    return chosen.tolist(), others.tolist()


def _data(model: ir.Model, config: QuantizeConfig, metadata: ModelMetadata) -> ModelInputs | None:
    """The calibration set; None where none is named and none is needed."""
    from edgekit.graph.io import signature_of
    from edgekit.graph.quantized import is_quantized

    if config.calibration is not None and not is_quantized(model):
        return open_inputs(config.calibration, signature_of(model), metadata.preprocessing)
    activations = SCHEMES[config.scheme].activations if config.scheme in SCHEMES else None
    if activations is not None and not is_quantized(model):
        raise ConfigError(_NEEDS_DATA.format(scheme=config.scheme))
    return None


def _calibration_feeds(
    data: ModelInputs | None, config: QuantizeConfig
) -> Callable[[], Iterator[Feeds]]:
    """Starts passes over the calibration samples, the same batches each time.

    Raises:
        InputError: If there are none.
    """
    if data is None:
        return lambda: iter(())
    if len(data) == 0:
        raise InputError(f"The calibration set {data.name!r} is empty.")
    chosen, _ = calibration_positions(len(data), config.options.samples)

    def start() -> Iterator[Feeds]:
        for batch in data.batches(config.options.batch, chosen):
            yield batch.feeds

    return start


def _metric(
    data: ModelInputs | None, config: QuantizeConfig, metadata: ModelMetadata
) -> GraphAccuracy | None:
    """Accuracy on labelled samples that are not calibrated with; None where there are none.

    Raises:
        ConfigError: If a loss of accuracy is limited, but none can be measured.
    """
    from edgekit.measure.graph_accuracy import GraphAccuracy

    options = config.options
    others: list[int] = []
    if data is not None and data.classes and options.accuracy_samples:
        _, free = calibration_positions(len(data), options.samples)
        others = [free[index] for index in spread(len(free), options.accuracy_samples)]
    if data is not None and others:
        return GraphAccuracy(data, others, metadata.labels)
    if options.max_drop is not None:
        why = "none is named"
        if data is not None:
            why = f"{data.name!r} has no labels" if not data.classes else "no samples are left"
        raise ConfigError(
            f"max_drop limits the loss of accuracy, which is measured on labelled samples of the "
            f"calibration set that are not calibrated with, but {why}. Name a labelled set with "
            "more samples (--calibrate), or leave max_drop out"
        )
    return None


def _summary(
    config: QuantizeConfig,
    data: ModelInputs | None,
    metric: GraphAccuracy | None,
    result: PtqResult,
) -> QuantizationSummary:
    mixed = result.mixed_precision
    return QuantizationSummary(
        scheme=config.scheme,
        dataset="" if data is None else data.name,
        samples=0 if data is None else min(config.options.samples, len(data)),
        accuracy_samples=0 if metric is None else metric.samples,
        float_accuracy=result.float_metric,
        trials=tuple(QuantizationTrial(**item.model_dump()) for item in result.table),
        sensitivity=tuple(LayerEffect(**item.model_dump()) for item in result.sensitivity),
        fallback=config.options.fallback,
        fallback_layers=() if mixed is None else mixed.layers,
        float_nodes=dict(result.placement.float_reasons),
        ranges=tuple(
            _range(group, result)
            for group in result.placement.groups
            if group.name in result.parameters.groups
        ),
    )


def _range(group: ValueGroup, result: PtqResult) -> CalibratedRange:
    parameters, seen = result.parameters.groups[group.name], result.seen.get(group.name)
    low, high = parameters.bounds
    return CalibratedRange(
        tensor=group.name,
        tensors=len(group.members),
        low=low,
        high=high,
        seen_low=None if seen is None else seen.low,
        seen_high=None if seen is None else seen.high,
        scale=parameters.scale,
        zero_point=parameters.zero_point,
        bits=parameters.bits,
    )


def _notes(
    config: QuantizeConfig, data: ModelInputs | None, metric: GraphAccuracy | None
) -> list[Note]:
    """Why accuracy did not decide, where it could have been asked for."""
    if data is None or metric is not None or not config.options.accuracy_samples:
        return []
    why = "has no labels" if not data.classes else "has no samples besides those calibrated with"
    text = f"Calibration set {data.name} {why}; the signal-to-noise ratio decided"
    return [Note(text=text)]
