"""Integers of a tensor and the real numbers that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.observation import Steps
from edgekit.graph.canonical_names import float_value_of
from edgekit.graph.reference import ReferenceSession
from tests.unit.quantization.graph_builder import GraphBuilder

_SCALES = st.floats(2.0**-12, 128.0, width=32)


@given(_SCALES, st.integers(-128, 127), st.lists(st.floats(-1e4, 1e4, width=32), min_size=1))
def test_rounding_is_that_of_onnx(scale: float, zero_point: int, values: list[float]) -> None:
    steps = Steps(scale, zero_point, "int8")
    array = np.array(values, np.float32)
    b = GraphBuilder()
    scale_name = b.constant("scale", np.array(scale, np.float32))
    zero_name = b.constant("zero", np.array(zero_point, np.int8))
    q = b.node("QuantizeLinear", "q", b.input("x", "n"), scale_name, zero_name)
    model = b.build(b.node("DequantizeLinear", "d", q, scale_name, zero_name))
    with ReferenceSession(model, optimization="disabled") as session:
        expected = session.run({"x": array})["d"]
    np.testing.assert_array_equal(steps.nearest(array), expected)


def test_bounds_and_count() -> None:
    steps = Steps(0.5, -128, "int8")
    assert steps.bounds == (0.0, 127.5)
    assert steps.count == 255
    assert Steps(1.0, 0, "int16").count == 65535


def test_nan_has_no_integer() -> None:
    with pytest.raises(ValueError, match="NaN cannot be quantized"):
        Steps(1.0, 0, "int8").quantize(np.array([np.nan], np.float32))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv", "conv"), ("conv/int8", "conv"), ("conv/int16", "conv"), ("conv/result", "conv"),
        ("a/conv/dequantized", "a/conv"), ("conv/uint8", "conv"), ("int8", "int8"),
    ],
)  # fmt: skip
def test_names_of_a_qdq_graph(name: str, expected: str) -> None:
    assert float_value_of(name) == expected
