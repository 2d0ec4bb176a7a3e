"""The stage that brings a model of any source to the canonical ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.stage import StageConfig, StageContext, StageResult
from edgekit.errors import InputError
from edgekit.graph.importers import ImportRequest, InputRequest, import_model
from edgekit.training.module_sources import module_sources

_FILE_SUFFIXES = (".onnx", ".pt2")


class ImportConfig(StageConfig):
    """Options of the import; the fields are those of `ImportRequest`."""

    source: str = Field(
        description="Model: FILE.onnx, FILE.pt2, FILE.py:FACTORY, PACKAGE.MODULE:FACTORY, "
        "timm:NAME or torchvision:NAME."
    )
    weights: Path | None = Field(None, description="State dict of a torch module.")
    inputs: tuple[InputRequest, ...] = Field((), description="Input names, shapes and dtypes.")
    dynamic_batch: bool = Field(False, description="Keep the batch dim symbolic.")
    preprocessing: AnyPreprocessing | None = Field(
        None, description="How an image or a recording becomes the input."
    )
    labels: tuple[str, ...] = Field((), description="Class names by index.")
    name: str | None = Field(None, description="Short name; derived from the source by default.")

    def request(self, weights: Path | None = None) -> ImportRequest:
        """The request to the importers; ``weights`` from a stage before it win."""
        fields = {name: getattr(self, name) for name in ImportRequest.model_fields}
        return ImportRequest(**{**fields, "weights": weights or self.weights})


class ImportStage:
    """Imports a model; weights that a training stage made come by the slot ``weights``."""

    name: ClassVar[str] = "import_model"
    version: ClassVar[int] = 1
    consumes: ClassVar[Mapping[str, frozenset[ArtifactKind]]] = {
        "weights": frozenset({ArtifactKind.WEIGHTS})
    }
    optional: ClassVar[frozenset[str]] = frozenset({"weights"})
    produces: ClassVar[Mapping[str, ArtifactKind | None]] = {"model": ArtifactKind.ONNX}
    tools: ClassVar[tuple[str, ...]] = ("onnx", "onnx-ir", "onnxruntime", "onnxscript", "torch")

    @property
    def config_type(self) -> type[ImportConfig]:
        """Type of the options."""
        return ImportConfig

    def external_files(self, config: ImportConfig) -> tuple[Path, ...]:
        """The model file (with its external data) or the factory's files, and the weights.

        Raises:
            InputError: If one is missing.
        """
        files: list[Path] = []
        if config.source.lower().endswith(_FILE_SUFFIXES):
            files.append(Path(config.source))
        else:
            files += module_sources(config.source)
        if config.weights is not None:
            files.append(config.weights)
        for path in files:
            if not path.is_file():
                raise InputError(f"No file at {path}")
        if config.source.lower().endswith(".onnx"):
            from edgekit.graph.io import external_files

            files += external_files(Path(config.source))
        return tuple(files)

    def run(
        self, context: StageContext, inputs: Mapping[str, Artifact], config: ImportConfig
    ) -> StageResult:
        """Imports, canonicalizes and saves ``model.onnx`` below the work folder."""
        from edgekit.graph.io import read_metadata, save_onnx, signature_of

        trained = inputs.get("weights")
        imported = import_model(config.request(trained.path if trained else None))
        path = context.workdir / "model.onnx"
        save_onnx(imported.model, path)
        artifact = Artifact.of(
            ArtifactKind.ONNX,
            path,
            signature=signature_of(imported.model),
            metadata=read_metadata(imported.model),
        )
        return StageResult({"model": artifact}, notes=imported.notes)
