from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered, RuntimeConfig
from edgekit.graph.io import save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.targets.onnxruntime.redundant_clips import drop_redundant_clips
from edgekit.targets.onnxruntime.target import OnnxRuntimeTarget

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 2, 8, 8] x) => (float[1, 3, 6, 6] y)
<float s0 = {{0.02}}, int8 z0 = {{0}}, float[3] sw = {{0.01, 0.01, 0.01}},
 int8[3] zw = {{0, 0, 0}},
 int8[3, 2, 3, 3] wq = {{{weights}}}, float[3] sb = {{0.0002, 0.0002, 0.0002}},
 int32[3] bq = {{5, -6, 7}}, float s1 = {{{scale}}}, int8 z1 = {{{zero}}},
 float low = {{{low}}}, float high = {{{high}}}>
{{
  q0 = QuantizeLinear (x, s0, z0)
  d0 = DequantizeLinear (q0, s0, z0)
  w = DequantizeLinear <axis = 0> (wq, sw, zw)
  b = DequantizeLinear <axis = 0> (bq, sb)
  [conv] c = Conv (d0, w, b)
  [clip] r = Clip (c, low, high)
  q1 = QuantizeLinear (r, s1, z1)
  y = DequantizeLinear (q1, s1, z1)
}}
"""


def graph(scale: float, zero: int, low: float, high: float) -> ir.Model:
    weights = np.random.default_rng(0).integers(-127, 128, 54)
    return ir.from_onnx_text(
        GRAPH.format(
            weights=", ".join(map(str, weights)), scale=scale, zero=zero, low=low, high=high
        )
    )


@pytest.mark.parametrize(
    ("case", "dropped"),
    [
        # The integers end at 6.0038: ONNX Runtime refuses the graph as it is.
        ((0.023544312, -128, 0.0, 6.0), 1),
        ((0.0078431, 0, -1.0, 1.0), 1),
        ((0.02, -128, 0.0, 6.0), 1),
        # The integers reach far beyond the clip, which has to stay.
        ((0.0392156862, -128, 0.0, 6.0), 0),
        ((0.0078431, -64, -1.0, 1.0), 0),
    ],
)
def test_artifact_computes_what_the_graph_does(
    case: tuple[Any, ...], dropped: int, tmp_path: Path
) -> None:
    model = graph(*case)
    path = tmp_path / "source.onnx"
    save_onnx(model, path)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, path, signature=signature_of(model))
    target = OnnxRuntimeTarget()
    lowered = target.lower(source, LowerConfig(precision="int8"), tmp_path)
    assert isinstance(lowered, Lowered)
    x = np.random.default_rng(1).standard_normal((1, 2, 8, 8)).astype(np.float32) * 3
    session = target.load(lowered.artifact.path, RuntimeConfig())
    with ReferenceSession(path, optimization="disabled") as reference:
        expected = reference.run({"x": x})["y"]
    assert expected.min() < expected.max()
    np.testing.assert_array_equal(session.run({"x": x})["y"], expected)  # type: ignore[union-attr]
    assert drop_redundant_clips(graph(*case)) == dropped


def test_a_clip_that_is_read_twice_stays() -> None:
    model = graph(0.0235, -128, 0.0, 6.0)
    clipped = next(node for node in model.graph if node.op_type == "Clip").outputs[0]
    model.graph.outputs.append(clipped)
    assert drop_redundant_clips(model) == 0
