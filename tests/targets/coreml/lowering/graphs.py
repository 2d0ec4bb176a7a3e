"""Lowers graphs written as text, runs their packages, and compares with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata
from edgekit.core.target import LowerConfig, Lowered, RuntimeConfig
from edgekit.graph.io import save_onnx, write_metadata
from edgekit.graph.reference import ReferenceSession
from edgekit.targets.coreml.target import CoreMLTarget

type Array = Any


def lower_text(
    text: str,
    folder: Path,
    metadata: ModelMetadata | None = None,
    **choices: Any,
) -> Lowered:
    """Lowers a graph; float32 unless the choices say otherwise."""
    model = ir.from_onnx_text(text)
    if metadata is not None:
        write_metadata(model, metadata)
    path = folder / "graph.onnx"
    save_onnx(model, path)
    config = LowerConfig.model_validate({"precision": "float32", **choices})
    lowered = CoreMLTarget().lower(Artifact.of(ArtifactKind.ONNX, path), config, folder)
    assert isinstance(lowered, Lowered)
    return lowered


def run_package(lowered: Lowered, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of the package in the MIL runtime."""
    session: Any = CoreMLTarget().load(lowered.artifact.path, RuntimeConfig())
    found: dict[str, Array] = session.run(feeds)
    return found


def assert_like_the_runtime(
    text: str, feeds: Mapping[str, Array], folder: Path, **choices: Any
) -> Lowered:
    """Lowers, runs, and compares every output with ONNX Runtime."""
    lowered = lower_text(text, folder, **choices)
    found = run_package(lowered, feeds)
    with ReferenceSession(folder / "graph.onnx") as reference:
        expected = reference.run(feeds)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        wanted: Any = array
        assert found[name].shape == wanted.shape
        assert found[name].dtype == wanted.dtype
        np.testing.assert_allclose(found[name], wanted, rtol=1e-5, atol=1e-6)
    return lowered
