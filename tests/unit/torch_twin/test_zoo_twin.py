"""Twins of the networks of the zoo and of published ONNX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.quant import named_scheme
from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.equivalence import difference, random_feeds
from edgekit.graph.io import load_onnx
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import build_twin, write_back
from edgekit.graph.values import Array
from edgekit.quantization.ptq import quantize_ptq
from tests.end_to_end.shared_data import shared_file
from tests.teacher_forcing import forced_differences
from tests.zoo_models import ZOO, export_zoo_onnx

_SIZE = 64
_FILES = ("mnist/mnist.onnx", "ultraface/version-RFB-320.onnx", "dtln/model_1.onnx",
          "dtln/model_2.onnx")  # fmt: skip
FLOAT_TOLERANCE = 1e-5
ILL_CONDITIONED = {"mobileone_s0": 1e-4}
"""Of this one ONNX Runtime and the twin are equally far (3e-5) from the result in float64."""


def check(model: ir.Model, tolerance: float) -> None:
    """Float twin, quantized twin, every value within one step, and the way back."""
    feeds = feeds_for(model)
    with ReferenceSession(model, optimization="disabled") as session:
        expected = session.run(feeds)
    found = build_twin(model).run(feeds)
    for name, array in expected.items():
        assert difference(name, array, found[name]).relative <= tolerance, name
    quantized = quantize_ptq(model, lambda: iter([feeds]), named_scheme("int8")).model
    differences = forced_differences(quantized, feeds_for(model, seed=1))
    assert max(differences.values(), default=0) <= 1
    back = write_back(build_twin(quantized), quantized)
    for name, value in quantized.graph.initializers.items():
        written = back.graph.initializers[name].const_value
        assert value.const_value is not None
        assert written is not None
        assert np.array_equal(value.const_value.numpy(), written.numpy()), name


def feeds_for(model: ir.Model, seed: int = 0) -> dict[str, Array]:
    with ReferenceSession(model) as session:
        return random_feeds(session.signature.inputs, seed=seed, batch=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_zoo(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    export_zoo_onnx(name, path, _SIZE)
    check(load_onnx(path), ILL_CONDITIONED.get(name, FLOAT_TOLERANCE))


@pytest.mark.parametrize("name", _FILES)
def test_published_file(name: str) -> None:
    path = shared_file(f"models/{name}")
    check(canonicalize(load_onnx(path), verify=False).model, FLOAT_TOLERANCE)
