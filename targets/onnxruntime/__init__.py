"""Target onnxruntime: the canonical graph itself, run and measured.

Importing this package loads no toolchain; `INFO` holds the facts known without one.
"""

from __future__ import annotations

from edgekit.core.artifact import ArtifactKind
from edgekit.core.target import TargetInfo

INFO = TargetInfo(
    name="onnxruntime",
    title="ONNX Runtime",
    # Installed with edgekit itself, which compares every other target with it.
    extra="",
    artifact_kind=ArtifactKind.ORT_ONNX,
    suffix=".onnx",
    precisions=("float32", "float16", "int8", "int8-weights", "int4-weights"),
    version=2,
    tools=("onnxruntime",),
)
