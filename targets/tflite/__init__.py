"""Target tflite: LiteRT flatbuffers for phones and boards.

Importing this package loads no toolchain; `INFO` holds the facts known without one.
"""

from __future__ import annotations

from edgekit.core.artifact import ArtifactKind
from edgekit.core.target import TargetInfo

INFO = TargetInfo(
    name="tflite",
    title="TensorFlow Lite (LiteRT)",
    extra="tflite",
    artifact_kind=ArtifactKind.TFLITE,
    suffix=".tflite",
    precisions=("float32", "float16", "int8", "int16x8", "int8-weights", "int4-weights"),
    io_types=("float32", "int8", "uint8"),
    integer_only=True,
    engines=("edgekit", "onnx2tf"),
    weight_computes=("dynamic", "exact"),
    version=6,
    tools=("ai-edge-litert", "onnx2tf"),
)
