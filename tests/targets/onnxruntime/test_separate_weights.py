from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.target import LowerConfig, Lowered, RuntimeConfig
from edgekit.graph.io import save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.targets.onnxruntime.separate_weights import separate_weights
from edgekit.targets.onnxruntime.target import OnnxRuntimeTarget

WEIGHTS = ", ".join(map(str, np.random.default_rng(0).integers(-127, 128, 81)))
GRAPH = f"""
<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 3, 8, 8] x) => (float[1, 3, 8, 8] y)
<float s = {{0.02}}, int8 z = {{0}}, float[3] sw = {{0.01, 0.02, 0.03}}, int8[3] zw = {{0, 0, 0}},
 int8[3, 3, 3, 3] wq = {{{WEIGHTS}}}, float t = {{0.05}}>
{{
  q0 = QuantizeLinear (x, s, z)
  d0 = DequantizeLinear (q0, s, z)
  w = DequantizeLinear <axis = 0> (wq, sw, zw)
  a = Conv <pads = [1, 1, 1, 1]> (d0, w)
  q1 = QuantizeLinear (a, t, z)
  d1 = DequantizeLinear (q1, t, z)
  b = Conv <pads = [1, 1, 1, 1]> (d1, w)
  q2 = QuantizeLinear (b, t, z)
  y = DequantizeLinear (q2, t, z)
}}
"""


def test_two_layers_with_the_same_weights(tmp_path: Path) -> None:
    model = ir.from_onnx_text(GRAPH)
    path = tmp_path / "source.onnx"
    save_onnx(model, path)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, path, signature=signature_of(model))
    target = OnnxRuntimeTarget()
    lowered = target.lower(source, LowerConfig(precision="int8"), tmp_path)
    assert isinstance(lowered, Lowered)
    session = target.load(lowered.artifact.path, RuntimeConfig())
    assert not isinstance(session, Unavailable)
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    with ReferenceSession(path, optimization="disabled") as reference:
        expected = reference.run(feeds)["y"]
    found = session.run(feeds)["y"]
    np.testing.assert_allclose(np.asarray(found, float), np.asarray(expected, float), atol=0.0501)


def test_copies_are_equal() -> None:
    model = ir.from_onnx_text(GRAPH)
    assert separate_weights(model) == 1
    assert separate_weights(model) == 0
    arrays = [
        value.const_value.numpy()
        for name, value in model.graph.initializers.items()
        if name.startswith("wq") and value.const_value is not None
    ]
    assert len(arrays) == 2
    assert np.array_equal(arrays[0], arrays[1])
