"""A small classifier as a canonical graph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.graph.io import save_onnx, signature_of, write_metadata
from edgekit.graph.values import add_initializer

METADATA = ModelMetadata(
    name="tiny digits",
    preprocessing=Preprocessing(channels="gray", scale=1 / 16),
    labels=tuple("0123456789"),
)

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
tiny (float[batch, 1, 8, 8] image) => (float[batch, 10] scores) {
  conv = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (image, kernel, bias)
  active = Relu (conv)
  flat = Flatten <axis = 1> (active)
  scores = Gemm (flat, weight)
}
"""


def build() -> ir.Model:
    """Conv, Relu, Gemm with fixed random weights."""
    rng = np.random.default_rng(0)
    shapes = {"kernel": (8, 1, 3, 3), "bias": (8,), "weight": (512, 10)}
    arrays = {
        name: (rng.standard_normal(shape) * 0.2).astype(np.float32)
        for name, shape in shapes.items()
    }
    declared = ", ".join(
        f"float[{','.join(map(str, shape))}] {name}" for name, shape in shapes.items()
    )
    model = ir.from_onnx_text(TEXT.replace("image) =>", f"image, {declared}) =>"))
    graph = model.graph
    for value in list(graph.inputs)[1:]:
        made = add_initializer(graph, f"{value.name}_", arrays[value.name or ""])
        ir.convenience.replace_all_uses_with(value, made)
    for value in list(graph.inputs)[1:]:
        graph.inputs.remove(value)
        graph.initializers[f"{value.name}_"].name = value.name
    write_metadata(model, METADATA)
    return model


@pytest.fixture
def build_model() -> Callable[[], ir.Model]:
    return build


@pytest.fixture
def source(tmp_path: Path) -> Artifact:
    """The classifier as an artifact of kind ONNX."""
    model = build()
    path = tmp_path / "tiny.onnx"
    save_onnx(model, path)
    return Artifact.of(ArtifactKind.ONNX, path, signature=signature_of(model), metadata=METADATA)
