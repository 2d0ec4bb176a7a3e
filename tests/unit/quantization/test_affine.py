from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgekit.core.quant import ActivationScheme
from edgekit.errors import ConfigError
from edgekit.graph.reference import ReferenceSession
from edgekit.quantization.affine import (
    SCALE_FLOOR,
    AffineParameters,
    affine_parameters,
    rounded_scales,
)

ASYMMETRIC = ActivationScheme()
SYMMETRIC = ActivationScheme(symmetric=True)
WIDE = ActivationScheme(bits=16, symmetric=True)
_bounds = st.floats(-1e6, 1e6, allow_subnormal=False, width=32)


@given(_bounds, _bounds, st.sampled_from([ASYMMETRIC, SYMMETRIC, WIDE]))
def test_zero_is_exact_and_the_range_is_covered(
    first: float, second: float, scheme: ActivationScheme
) -> None:
    low, high = sorted((first, second))
    affine = affine_parameters(low, high, scheme)
    zero = np.zeros(1, np.float32)
    assert affine.dequantize(affine.quantize(zero))[0] == 0.0
    assert affine.limits[0] <= affine.zero_point <= affine.limits[1]
    # Rounding the zero point moves the range by at most half a step.
    slack = affine.scale * 0.501
    assert affine.bounds[0] <= min(low, 0.0) + slack
    assert affine.bounds[1] >= max(high, 0.0) - slack
    ends = np.array([low, high], np.float32)
    error = np.abs(affine.dequantize(affine.quantize(ends)) - ends)
    assert np.all(error <= affine.scale * 1.01)


@given(_bounds, _bounds)
def test_asymmetric_scale_is_no_wider_than_needed(first: float, second: float) -> None:
    low, high = min(first, second, 0.0), max(first, second, 0.0)
    affine = affine_parameters(low, high, ASYMMETRIC)
    if high - low > 255 * SCALE_FLOOR:
        assert affine.scale == pytest.approx((high - low) / 255, rel=1e-6)


def test_symmetric_has_zero_point_zero() -> None:
    assert affine_parameters(-1.0, 3.0, SYMMETRIC) == AffineParameters(
        float(np.float32(3.0 / 127)), 0, 8
    )
    assert affine_parameters(-4.0, 3.0, WIDE) == AffineParameters(
        float(np.float32(4.0 / 32767)), 0, 16
    )


def test_tensor_that_is_always_zero_gets_a_usable_scale() -> None:
    affine = affine_parameters(0.0, 0.0, ASYMMETRIC)
    assert affine.scale == np.float32(1 / 255)
    assert affine.zero_point == -128


def test_tiny_range_gets_the_floor() -> None:
    assert affine_parameters(0.0, 1e-30, ASYMMETRIC).scale == SCALE_FLOOR


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_what_is_no_range_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="is no range"):
        affine_parameters(low, high, ASYMMETRIC)


@given(st.floats(1e-12, 1e3))
def test_float16_scale_is_representable_and_not_smaller(scale: float) -> None:
    rounded = float(rounded_scales(np.asarray(scale), "float16"))
    assert float(np.float16(rounded)) == rounded
    assert rounded >= np.float32(scale)
    assert rounded <= max(scale, 2.0**-14) * (1 + 2.0**-9)


@given(st.floats(1e-4, 1e3), st.integers(-128, 127))
def test_parameters_are_found_again_from_their_own_range(scale: float, zero_point: int) -> None:
    known = AffineParameters(float(rounded_scales(np.asarray(scale), "float16")), zero_point)
    low, high = known.bounds
    assert affine_parameters(low, high, ASYMMETRIC, "float16") == known


@pytest.mark.parametrize("bits", [8, 16])
def test_integers_equal_those_of_onnx_runtime(bits: int) -> None:
    affine = (
        affine_parameters(-1.3, 2.9, ASYMMETRIC)
        if bits == 8
        else affine_parameters(-1.3, 2.9, WIDE)
    )
    kind = TensorProto.INT8 if bits == 8 else TensorProto.INT16
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [affine.scale]),
        helper.make_tensor("zero", kind, [], [affine.zero_point]),
    ]
    graph = helper.make_graph(
        nodes,
        "pair",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4000])],
        [
            helper.make_tensor_value_info("q", kind, [4000]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [4000]),
        ],
        constants,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    # Beyond the range for saturation, and exactly between two integers for ties.
    values = np.concatenate(
        [np.linspace(-5, 5, 3800), (np.arange(200) - 100 + 0.5) * affine.scale]
    ).astype(np.float32)
    result = ReferenceSession.run_once(proto, {"x": values})
    np.testing.assert_array_equal(affine.quantize(values), result["q"])
    np.testing.assert_array_equal(affine.dequantize(affine.quantize(values)), result["y"])


def test_scales_beyond_float16_are_refused() -> None:
    with pytest.raises(ConfigError, match="7e\\+04 is beyond float16"):
        rounded_scales(np.array([1.0, 7e4]), "float16")
    assert rounded_scales(np.array([65504.0]), "float16")[0] == 65504
    assert rounded_scales(np.array([7e4]), "float32")[0] == np.float32(7e4)
