"""Stage layer_errors: a quantized graph beside its float graph, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.run_evidence import LayerErrorPoint, LayerErrorSummary
from edgekit.core.stage import Note, StageConfig, StageContext, StageResult
from edgekit.data.datasets import DataSpec, data_files
from edgekit.data.image_set import spread
from edgekit.data.model_inputs import fixed_batch, open_inputs
from edgekit.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from edgekit.core.layer_error import ArtifactErrors, LayerComparison, LayerError


class LayerErrorsConfig(StageConfig):
    """Options of the stage."""

    scheme: str = Field("int8", description="Name of the quantization scheme.")
    step: str = Field(description="Step that made the quantized graph.")
    data: DataSpec = Field(description="Data set that both graphs run on.")
    samples: int = Field(8, ge=1, description="Samples of it, spread evenly.")


class LayerErrorsStage:
    """Runs both graphs node by node in ONNX Runtime and compares every tensor they share."""

    name: ClassVar[str] = "layer_errors"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "model": frozenset({ArtifactKind.QDQ_ONNX}),
        "float": frozenset({ArtifactKind.ONNX}),
    }
    optional: ClassVar[frozenset[str]] = frozenset()
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"errors": ArtifactKind.METRICS}
    tools: ClassVar[tuple[str, ...]] = (
        "numpy", "onnx", "onnx-ir", "onnxruntime", "pillow", "scikit-learn",
    )  # fmt: skip

    @property
    def config_type(self) -> type[LayerErrorsConfig]:
        """Type of the options."""
        return LayerErrorsConfig

    def external_files(self, config: LayerErrorsConfig) -> tuple[Path, ...]:
        """The files of the data set."""
        return data_files(config.data)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: LayerErrorsConfig
    ) -> StageResult:
        """Writes a `LayerErrorSummary`.

        It is evidence for the report alone: where graphs or data do not allow the comparison,
        the summary says why, and the run goes on.
        """
        empty = LayerErrorSummary(scheme=config.scheme, step=config.step)
        notes: tuple[Note, ...] = ()
        try:
            summary = _summary(empty, _compared(context, inputs, config))
        except (InputError, UnsupportedError) as error:
            summary = empty.model_copy(update={"reason": str(error)})
            notes = (Note(text=f"Layers were not compared: {error}"),)
        path = context.workdir / "layer_errors.json"
        path.write_text(summary.model_dump_json(), encoding="utf-8")
        return StageResult({"errors": Artifact.of(ArtifactKind.METRICS, path)}, notes=notes)


def _compared(
    context: StageContext, inputs: Mapping[str, Artifact], config: LayerErrorsConfig
) -> LayerComparison:
    from edgekit.graph.io import load_onnx, read_metadata, signature_of
    from edgekit.graph.observed_graph import ObservedGraph, runtime_name
    from edgekit.graph.quantized import is_quantized
    from edgekit.measure.layer_comparison import Subject, compare_layers

    original, model = load_onnx(inputs["float"].path), load_onnx(inputs["model"].path)
    signature = signature_of(original)
    data = open_inputs(config.data, signature, read_metadata(original).preprocessing)
    order = spread(len(data), config.samples).tolist()
    if is_quantized(original):
        raise InputError("The model came quantized, so there is no float graph to compare with.")
    sessions = [ObservedGraph(graph, runtime_name()) for graph in (original, model)]
    try:
        return compare_layers(
            Subject("float graph", "onnx", sessions[0]),
            [Subject(config.step, "qdq", sessions[1])],
            data.batches(fixed_batch(signature) or 1, order),
            data.name,
            context.progress,
        )
    finally:
        for session in sessions:
            session.close()


def _summary(empty: LayerErrorSummary, compared: LayerComparison) -> LayerErrorSummary:
    (errors,) = compared.artifacts
    return empty.model_copy(
        update={
            "dataset": compared.dataset,
            "samples": compared.samples,
            "runtime": compared.reference_runtime,
            "layers": tuple(_point(layer) for layer in errors.layers),
            "verdict": errors.verdict,
            "unmatched": _unmatched(errors),
        }
    )


def _point(layer: LayerError) -> LayerErrorPoint:
    return LayerErrorPoint(
        tensor=layer.tensor,
        layer=layer.layer,
        operators=layer.operators,
        dtype=layer.dtype,
        own_db=None if layer.own is None else layer.own.sqnr_db,
        cumulative_db=layer.cumulative.sqnr_db,
        max_abs=layer.cumulative.max_abs,
        out_of_line=layer.out_of_line,
    )


def _unmatched(errors: ArtifactErrors) -> dict[str, str]:
    return {item.tensor: item.reason for item in errors.unmatched}
