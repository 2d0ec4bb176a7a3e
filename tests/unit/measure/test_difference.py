"""Comparison of outputs, and what makes two outputs incomparable."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from edgekit.errors import VerificationError
from edgekit.measure.difference import compare_outputs

Y: npt.NDArray[Any] = np.array([[0.0, 1.0, -3.0]], dtype=np.float32)
FLOATS = st.floats(-1e6, 1e6, width=32)


def test_figures_by_hand() -> None:
    (difference,) = compare_outputs({"y": Y}, {"y": Y + np.array([[0, 0.5, -0.25]], np.float32)})
    assert difference.output == "y"
    assert difference.max_abs == 0.5
    assert difference.reference_range == 4.0
    assert difference.relative == 0.125


def test_a_constant_reference_is_measured_by_its_magnitude() -> None:
    (difference,) = compare_outputs({"y": np.full(3, -4.0)}, {"y": np.full(3, -5.0)})
    assert (difference.reference_range, difference.relative) == (0.0, 0.25)
    (zero,) = compare_outputs({"y": np.zeros(3)}, {"y": np.full(3, 0.125)})
    assert zero.relative == 0.125


def test_integers_do_not_wrap_around() -> None:
    reference, candidate = np.array([0, 255], np.uint8), np.array([255, 0], np.uint8)
    (difference,) = compare_outputs({"y": reference}, {"y": candidate})
    assert difference.max_abs == 255
    (logical,) = compare_outputs({"y": np.array([True, False])}, {"y": np.array([True, True])})
    assert logical.max_abs == 1


def test_all_outputs_are_given_in_the_order_of_the_reference() -> None:
    empty: npt.NDArray[Any] = np.zeros((0, 4))
    reference = {"b": Y, "a": Y, "empty": empty}
    candidate = {"a": Y, "empty": empty, "b": Y}
    differences = compare_outputs(reference, candidate)
    assert [difference.output for difference in differences] == ["b", "a", "empty"]
    assert all(difference.max_abs == 0 for difference in differences)


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({}, "output 'y' is missing"),
        ({"y": Y, "z": Y}, "output 'z' is not among the reference's"),
        ({"y": Y[0]}, r"output 'y' is of shape \[3\], expected \[1, 3\]"),
        ({"y": Y.T}, r"output 'y' is of shape \[3, 1\], expected \[1, 3\]"),
        ({"y": Y * np.nan}, "not finite in the artifact: 3 of 3 values are NaN or infinite"),
        ({"y": np.where(Y == 1, np.inf, Y)}, "not finite in the artifact: 1 of 3"),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    candidate: dict[str, npt.NDArray[Any]], message: str
) -> None:
    with pytest.raises(VerificationError, match=message):
        compare_outputs({"y": Y}, candidate)


def test_a_reference_that_is_not_finite_is_an_error_too() -> None:
    broken = {"y": np.array([np.nan, 1.0])}
    with pytest.raises(VerificationError, match="not finite in the reference: 1 of 2"):
        compare_outputs(broken, broken)


def test_every_fault_is_listed() -> None:
    with pytest.raises(VerificationError, match=r"'a' is missing; output 'b' is of shape"):
        compare_outputs({"a": Y, "b": Y}, {"b": Y[0]})


@given(st.data())
def test_a_difference_is_zero_exactly_for_equal_arrays(data: st.DataObject) -> None:
    shape = data.draw(array_shapes(max_dims=3, max_side=4))
    a = data.draw(arrays(np.float32, shape, elements=FLOATS))
    b = data.draw(arrays(np.float32, shape, elements=FLOATS))
    (difference,) = compare_outputs({"y": a}, {"y": b})
    assert (difference.max_abs == 0) == np.array_equal(a, b)
    assert difference.relative >= 0
    assert np.isfinite(difference.relative)
    assert compare_outputs({"y": b}, {"y": a})[0].max_abs == difference.max_abs
