"""Target coreml: ML programs for iPhones, iPads and Macs, written and executed on any system.

Importing this package loads no toolchain; `INFO` holds the facts known without one.
"""

from __future__ import annotations

from edgekit.core.artifact import ArtifactKind
from edgekit.core.target import TargetInfo

INFO = TargetInfo(
    name="coreml",
    title="Core ML",
    extra="coreml",
    artifact_kind=ArtifactKind.COREML,
    suffix=".mlpackage",
    precisions=("float32", "float16", "int8", "int8-weights", "int4-weights"),
    computes=("float16", "float32"),
    deployment_targets=("iOS18", "iOS17", "iOS16", "iOS15", "iOS26"),
    image_input=True,
    batch_sizes=True,
    folder=True,
    version=1,
    tools=("coremltools",),
)
