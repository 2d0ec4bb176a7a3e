"""Typed artifacts: what stages take and give."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from edgekit.core.hashing import digest_path
from edgekit.core.metadata import ModelMetadata
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature


class ArtifactKind(StrEnum):
    """What a file is; the plan is type-checked with these before anything runs."""

    ONNX = "onnx"
    """Canonical ONNX graph: opset fixed, shapes inferred, metadata embedded."""
    QDQ_ONNX = "qdq-onnx"
    """Canonical graph with QuantizeLinear/DequantizeLinear pairs."""
    WEIGHTS = "weights"
    """Trained parameters of a torch module, safetensors."""
    TFLITE = "tflite"
    ORT_ONNX = "ort-onnx"
    """The graph as the onnxruntime target runs it."""
    COREML = "coreml"
    METRICS = "metrics"
    """JSON of a measurement: accuracy, latency, training curve."""
    REPORT = "report"
    """Folder holding report.json, report.md and report.html."""


def file_stem(name: str) -> str:
    """A file name without suffix for a model: letters, digits, dot, dash, underscore.

    >>> file_stem("five things"), file_stem("../x/y"), file_stem("...")
    ('five_things', 'x_y', 'model')
    """
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in name)
    return kept.strip("._") or "model"


def size_on_disk(path: Path) -> int:
    """Bytes of a file, or of all files in a folder.

    Raises:
        FileNotFoundError: If nothing stands at ``path``.
    """
    if not path.is_dir():
        return path.stat().st_size
    return sum(child.stat().st_size for child in path.rglob("*") if child.is_file())


class Artifact(FrozenModel):
    """A file or folder with its identity.

    Attributes:
        kind: What it is.
        digest: sha256 of its content, hex.
        path: Where it lies now; not part of its identity.
        signature: Inputs and outputs, for models; None for other kinds.
        metadata: What travels with the model; None for other kinds.
        precision: Numeric form of a lowered model, for example ``"float16"``; empty otherwise.
    """

    kind: ArtifactKind
    digest: str
    path: Path
    signature: ModelSignature | None = None
    metadata: ModelMetadata | None = None
    precision: str = ""

    @classmethod
    def of(
        cls,
        kind: ArtifactKind,
        path: Path,
        *,
        signature: ModelSignature | None = None,
        metadata: ModelMetadata | None = None,
        precision: str = "",
    ) -> Artifact:
        """Describes what lies at ``path``, computing its digest."""
        return cls(
            kind=kind,
            digest=digest_path(path),
            path=path,
            signature=signature,
            metadata=metadata,
            precision=precision,
        )
