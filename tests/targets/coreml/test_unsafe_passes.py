"""coremltools 9.0 changes quantized programs by its own passes; edgekit leaves those out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.targets.coreml.lowering.passes import UNSAFE_PASSES, pass_pipeline
from edgekit.targets.coreml.runtime import MilModel
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import mb
from tests.targets.coreml.mil_packages import build

X = np.array([[0.0, 0.1, 0.2, 0.3]], np.float32)
FIRST, SECOND = (np.float32(0.01), np.int8(-50)), (np.float32(0.003), np.int8(-20))


def requantized(x: Any) -> Any:
    """Quantize, dequantize, reshape, quantize with other parameters, dequantize."""
    made = mb.quantize(input=x, scale=FIRST[0], zero_point=FIRST[1], output_dtype="int8")
    made = mb.dequantize(input=made, scale=FIRST[0], zero_point=FIRST[1])
    made = mb.reshape(x=made, shape=[4])
    made = mb.quantize(input=made, scale=SECOND[0], zero_point=SECOND[1], output_dtype="int8")
    return mb.dequantize(input=made, scale=SECOND[0], zero_point=SECOND[1], name="y")


def result(path: Path, pipeline: Any) -> Any:
    build(requantized, {"x": (1, 4)}, path, target="iOS17", pipeline=pipeline)
    (found,) = MilModel(path).predict({"x": X}).values()
    return found


def expected() -> Any:
    values: Any = X.reshape(-1)
    for scale, zero in (FIRST, SECOND):
        integers = np.clip(np.round(values / scale) + zero, -128, 127)
        values = ((integers - zero) * scale).astype(np.float32)
    return values


def test_the_default_passes_miscompile_a_requantization(tmp_path: Path) -> None:
    found = result(tmp_path / "default.mlpackage", ct.PassPipeline.DEFAULT)
    assert np.abs(found - expected()).max() > 0.1
    without = ct.PassPipeline.DEFAULT
    without.remove_passes({"common::int_op_canonicalization"})
    found = result(tmp_path / "without.mlpackage", without)
    np.testing.assert_allclose(found, expected(), atol=1e-6)


def test_edgekits_passes_do_not(tmp_path: Path) -> None:
    found = result(tmp_path / "edgekit.mlpackage", pass_pipeline())
    np.testing.assert_array_equal(found, expected())


@pytest.mark.parametrize("name", UNSAFE_PASSES)
def test_the_passes_exist_and_are_left_out(name: str) -> None:
    assert name in ct.PassPipeline.DEFAULT.passes
    assert name not in pass_pipeline().passes


def test_the_default_passes_scale_a_product_and_sum_wrongly(tmp_path: Path) -> None:
    factor = np.array([2.0, 3.0], np.float32).reshape(1, 2, 1, 1)
    shift = np.array([-1.0, 0.5], np.float32).reshape(1, 2, 1, 1)

    def body(x: Any) -> Any:
        return mb.add(x=mb.mul(x=x, y=factor), y=shift, name="y")

    x = np.full((1, 2, 3, 3), 1000.0, np.float32)
    found = {}
    for name, pipeline in (("default", ct.PassPipeline.DEFAULT), ("edgekit", pass_pipeline())):
        path = tmp_path / f"{name}.mlpackage"
        build(body, {"x": x.shape}, path, pipeline=pipeline)
        (found[name],) = MilModel(path).predict({"x": x}).values()
    assert np.abs(found["default"] - (x * factor + shift)).max() > 5e-3
    np.testing.assert_array_equal(found["edgekit"], x * factor + shift)
