"""Several integer outputs in different axis orders: their integers move, nothing is in float."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.quant import SCHEMES
from edgekit.core.target import LowerConfig, Lowered, RuntimeConfig
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import save_onnx, signature_of
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import add_initializer
from edgekit.measure.feeds import random_feeds
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from edgekit.targets.tflite.runtime import LiteRTSession
from edgekit.targets.tflite.target import TFLiteTarget

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
g (float[1, 3, 10, 12] x, float[5, 3, 3, 3] k)
  => (float[1, 5, 10, 12] y, float[1, 5, 5, 6] p, float[1, 12, 10, 5] t, float[1, 600] f) {
  c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, k)
  y = Relu (c)
  p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (y)
  t = Transpose <perm = [0, 3, 2, 1]> (y)
  f = Flatten (y)
}
"""


@pytest.mark.parametrize("io", ["float32", "int8", "uint8"])
def test_outputs_in_other_orders(io: Literal["float32", "int8", "uint8"], tmp_path: Path) -> None:
    model = ir.from_onnx_text(GRAPH)
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    old = model.graph.inputs.pop()
    ir.convenience.replace_all_uses_with(old, add_initializer(model.graph, "weight", weight))
    model = canonicalize(model, verify=False).model
    signature = signature_of(model)
    feeds = [random_feeds(signature, seed) for seed in range(4)]
    made = quantize_ptq(model, lambda: iter(feeds), SCHEMES["int8"], PtqOptions(method="minmax"))
    path = tmp_path / "graph.qdq.onnx"
    save_onnx(made.model, path)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, path, signature=signature)
    target = TFLiteTarget()
    lowered = target.lower(source, LowerConfig(precision="int8", io=io), tmp_path)
    assert isinstance(lowered, Lowered)
    report = target.verify(lowered.artifact.path, path, feeds)
    assert (report.differing_tensors, report.float_ops) == (0, ())  # type: ignore[union-attr]
    session = LiteRTSession(lowered.artifact.path, RuntimeConfig())
    with ReferenceSession(path, optimization="disabled") as reference:
        expected = reference.run(feeds[0])
    found = session.run(feeds[0])
    session.close()
    for name, array in expected.items():
        wanted = np.asarray(array, np.float64)
        step = np.ptp(wanted) / 255
        assert np.abs(found[name] - wanted).max() <= 1.01 * step
