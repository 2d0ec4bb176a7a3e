"""Small quantized networks with their packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.quant import custom_scheme
from edgekit.core.target import LowerConfig, Lowered
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.io import save_onnx, signature_of
from edgekit.graph.values import add_initializer
from edgekit.measure.feeds import random_feeds
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from edgekit.targets.coreml.target import CoreMLTarget

NETWORK = """
<ir_version: 10, opset_import: ["" : 20]>
network (float[1, 3, 12, 12] image, float[8, 3, 3, 3] k1, float[8] b1, float[8, 1, 3, 3] k2,
         float[8] b2, float[8, 4] w, float[4] b) => (float[1, 4] scores) {
  [stem] c1 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], strides = [2, 2]> (image, k1, b1)
  [act] a1 = Relu (c1)
  [dw] c2 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 8> (a1, k2, b2)
  [skip] s = Add (a1, c2)
  [pool] p = GlobalAveragePool (s)
  [flat] f = Flatten <axis = 1> (p)
  [head] scores = Gemm (f, w, b)
}
"""


def float_network() -> ir.Model:
    """Canonical, with fixed random weights."""
    model = ir.from_onnx_text(NETWORK)
    rng = np.random.default_rng(0)
    for value in list(model.graph.inputs)[1:]:
        assert value.shape is not None
        array = (rng.standard_normal(value.shape.numpy()) * 0.4).astype(np.float32)
        model.graph.inputs.remove(value)
        made = add_initializer(model.graph, f"{value.name}_weight", array)
        ir.convenience.replace_all_uses_with(value, made)
    return canonicalize(model, verify=False).model


def quantized(
    folder: Path, precision: str = "int8", scale_format: Any = "float16", **scheme: Any
) -> Artifact:
    """The QDQ graph of the network, as a file."""
    model = float_network()
    signature = signature_of(model)
    feeds = [random_feeds(signature, seed) for seed in range(4)]
    made = quantize_ptq(
        model,
        lambda: iter(feeds),
        custom_scheme(precision, scale_format=scale_format, **scheme),
        PtqOptions(method="minmax"),
    )
    path = folder / f"{precision}.qdq.onnx"
    save_onnx(made.model, path)
    return Artifact.of(ArtifactKind.QDQ_ONNX, path, signature=signature)


def package_of(source: Artifact, folder: Path, **choices: Any) -> Lowered:
    """Its package."""
    config = LowerConfig.model_validate({"precision": "int8", **choices})
    lowered = CoreMLTarget().lower(source, config, folder)
    assert isinstance(lowered, Lowered)
    return lowered
