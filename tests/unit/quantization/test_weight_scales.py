"""Scales of weights: representable, and never worse than those of the largest weight."""

from __future__ import annotations

from typing import Any, get_args

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgekit.core.quant import ScaleFormat, WeightScheme
from edgekit.quantization.affine import rounded_scales
from edgekit.quantization.parameters import round_weights
from edgekit.quantization.placement import LayerPlacement
from edgekit.quantization.weight_scales import weight_scales

type Weights = npt.NDArray[np.float32]

FINITE = st.floats(-100, 100, width=32)


def placed(axis: int, **scheme: Any) -> LayerPlacement:
    return LayerPlacement("fc", "MatMul", "w", axis, WeightScheme(**scheme))


def squared_error(weights: Weights, layer: LayerPlacement, scale_format: ScaleFormat) -> float:
    """Of all weights, computed from the integers that are stored."""
    scale, axis, block = weight_scales(weights, layer, scale_format)
    stored = round_weights(weights, scale, layer.scheme.bits, axis, block)
    return float(np.square(weights - stored.dequantize(), dtype=np.float64).sum())


@pytest.mark.parametrize("granularity", ["per-tensor", "per-channel", "blockwise"])
@pytest.mark.parametrize("axis", [0, 1])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_least_error_is_never_more_than_that_of_the_largest_weight(
    granularity: str, axis: int, data: st.DataObject
) -> None:
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, max_side=3))
    sides = (shape[0] * (4 if axis else 1), shape[1] * (1 if axis else 4))
    weights = data.draw(arrays(np.float32, sides, elements=FINITE))
    bits = data.draw(st.sampled_from([4, 8]))
    scale_format: ScaleFormat = data.draw(st.sampled_from(get_args(ScaleFormat)))
    errors = [
        squared_error(
            weights,
            placed(axis, bits=bits, granularity=granularity, block_size=4, fit=fit),
            scale_format,
        )
        for fit in ("mse", "largest")
    ]
    assert errors[0] <= errors[1] * (1 + 1e-6) + 1e-12


@pytest.mark.parametrize(
    ("bits", "granularity", "share"),
    [(4, "per-channel", 0.78), (4, "blockwise", 0.92), (4, "per-tensor", 0.3)],
)
def test_least_error_is_less_on_bell_shaped_weights(
    bits: int, granularity: str, share: float
) -> None:
    weights = np.random.default_rng(0).laplace(size=(256, 64)).astype(np.float32)
    errors = [
        squared_error(weights, placed(1, bits=bits, granularity=granularity, fit=fit), "bfloat16")
        for fit in ("mse", "largest")
    ]
    assert errors[0] < share * errors[1]


def test_eight_bits_gain_where_a_weight_stands_out() -> None:
    weights = np.random.default_rng(0).standard_normal((1, 50000)).astype(np.float32)
    weights[0, 0] = 12.0
    errors = [squared_error(weights, placed(0, fit=fit), "float32") for fit in ("mse", "largest")]
    assert errors[0] < 0.85 * errors[1]


def test_the_search_finds_the_best_of_a_fine_grid() -> None:
    weights = np.random.default_rng(1).standard_normal((1, 500)).astype(np.float32)
    layer = placed(0, bits=4, fit="mse")
    reached = squared_error(weights, layer, "float32")
    largest = float(np.abs(weights).max()) / 7
    best = min(
        float(np.square(weights - np.clip(np.rint(weights / s), -7, 7) * s).sum())
        for s in np.linspace(0.2, 1.2, 2000) * largest
    )
    assert best <= reached <= 1.01 * best


def test_shapes_of_the_scales() -> None:
    weights = np.ones((8, 6), np.float32)
    for axis, granularity, expected in (
        (0, "per-tensor", ((), 0, 0)),
        (0, "per-channel", ((8,), 0, 0)),
        (1, "per-channel", ((6,), 1, 0)),
        (1, "blockwise", ((4, 6), 0, 2)),
        (0, "blockwise", ((8, 3), 1, 2)),
    ):
        scale, place, block = weight_scales(
            weights, placed(axis, granularity=granularity, block_size=2)
        )
        assert (scale.shape, place, block) == expected
        np.testing.assert_allclose(scale, 1 / 127, rtol=1e-6)


def test_blocks_of_both_axes_hold_their_largest_weight() -> None:
    weights = np.random.default_rng(2).standard_normal((8, 6)).astype(np.float32)
    down, _, _ = weight_scales(weights, placed(1, granularity="blockwise", block_size=4))
    across, _, _ = weight_scales(weights.T, placed(0, granularity="blockwise", block_size=4))
    expected = np.abs(weights).reshape(2, 4, 6).max(axis=1) / 127
    np.testing.assert_allclose(down, expected, rtol=1e-6)
    np.testing.assert_array_equal(across, down.T)


@settings(max_examples=200, deadline=None)
@given(st.floats(2.0**-60, 6e4))
def test_short_scales_are_the_next_number_that_both_formats_hold(scale: float) -> None:
    short = rounded_scales(np.array([scale]), "bfloat16")
    assert short.dtype == np.float32
    np.testing.assert_array_equal(short.astype(np.float16).astype(np.float32), short)
    np.testing.assert_array_equal(short.astype(ml_dtypes.bfloat16).astype(np.float32), short)
    wanted = np.float32(max(scale, 2.0**-14))
    below = (short.view(np.uint32) - np.uint32(0x00010000)).view(np.float32)
    assert below[0] < wanted <= short[0]
