"""Static facts about what a run made."""

from __future__ import annotations

from pathlib import Path

from edgekit.core.artifact import Artifact
from edgekit.core.metrics import Unavailable
from edgekit.core.run_summary import GraphSummary
from edgekit.core.target import Inspection
from edgekit.errors import EdgekitError


def inspected(artifact: Artifact, target: str) -> GraphSummary | Unavailable:
    """Static facts; of the canonical graph where ``target`` is empty."""
    try:
        found = _inspect(artifact.path, target)
    except EdgekitError as error:
        return Unavailable(reason=str(error))
    return GraphSummary(
        ops=found.ops,
        macs=found.macs,
        parameters=found.parameters,
        integer_ops=found.integer_ops,
        float_ops=found.float_ops,
        details=found.details,
    )


def _inspect(path: Path, target: str) -> Inspection:
    if target:
        from edgekit.pipeline.registry import get_target

        return get_target(target).inspect(path)
    from edgekit.graph.inspect import inspect_onnx

    return inspect_onnx(path)
