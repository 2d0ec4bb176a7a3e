"""Opens an artifact in the runtime that belongs to it."""

from __future__ import annotations

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.target import RuntimeConfig, Session, Target
from edgekit.errors import ConfigError

ONNX_KINDS = frozenset({ArtifactKind.ONNX, ArtifactKind.QDQ_ONNX, ArtifactKind.ORT_ONNX})
RUNNABLE_KINDS = ONNX_KINDS | {ArtifactKind.TFLITE, ArtifactKind.COREML}

REFERENCE = "reference"
"""Stands for the target's name where the reference session ran the artifact."""


def open_session(model: Artifact, target: Target | None, threads: int) -> Session | Unavailable:
    """Loads a model into its target's runtime, or without target into the reference session.

    Raises:
        ConfigError: If the target does not run files of this kind.
        InputError: If the file is damaged.
    """
    if target is not None:
        check_kind(model, target)
        return target.load(model.path, RuntimeConfig(threads=threads))
    if model.kind not in ONNX_KINDS:
        raise ConfigError(f"A {model.kind} artifact needs its target to run; none was given.")
    from edgekit.graph.reference import ReferenceSession

    # Fused integer kernels round unlike the Q/DQ nodes that define what a QDQ graph computes.
    quantized = model.kind is ArtifactKind.QDQ_ONNX
    return ReferenceSession(
        model.path, threads=threads, optimization="disabled" if quantized else "all"
    )


def check_kind(model: Artifact, target: Target) -> None:
    """Checks that a target's runtime takes files of the model's kind.

    Raises:
        ConfigError: If it does not.
    """
    accepted = target.info.artifact_kind
    if model.kind is accepted or (accepted in ONNX_KINDS and model.kind in ONNX_KINDS):
        return
    raise ConfigError(
        f"Target {target.info.name!r} runs {accepted} artifacts, not {model.kind}; lower the "
        "model to this target first."
    )
