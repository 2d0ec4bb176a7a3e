"""Operators of a file beside those that XNNPACK tells of."""

from __future__ import annotations

import pytest

from edgekit.targets.tflite.profiling.alignment import align, kernel_type

CONV, DENSE = "Convolution (NHWC, F32) IGEMM", "Fully Connected (NC, F32) GEMM"
RESHAPE, ADD, SIGMOID = "Static Reshape (NC)", "Add (ND)", "Sigmoid (NC)"


def test_names() -> None:
    assert kernel_type(DENSE) == "fullyconnected"
    assert kernel_type("Mean (ND) Reduce2") == "mean"


@pytest.mark.parametrize(
    ("operators", "kernels", "expected"),
    [
        (["CONV_2D"], [CONV], [0]),
        # A product of matrices stands for a convolution of 1 x 1.
        (["CONV_2D", "CONV_2D"], [CONV, DENSE], [0, 1]),
        # PAD is fused into the convolution after it, the last RESHAPE moves nothing.
        (["PAD", "CONV_2D", "ADD", "RESHAPE"], [CONV, ADD], [1, 2]),
        # The reshape before a product belongs to it, twice.
        (
            ["FULLY_CONNECTED", "FULLY_CONNECTED", "ADD"],
            [RESHAPE, DENSE, RESHAPE, DENSE, ADD],
            [0, 0, 1, 1, 2],
        ),
        # Where the file has the reshape, it is its own.
        (["MEAN", "RESHAPE", "FULLY_CONNECTED"], ["Mean (ND)", RESHAPE, DENSE], [0, 1, 2]),
        (["ADD", "ADD", "LOGISTIC"], [ADD, ADD, SIGMOID], [0, 1, 2]),
        (["SPLIT", "LOGISTIC"], ["Copy (NC, X32)", SIGMOID], [0, 1]),
        (["HARD_SWISH"], ["HardSwish (NC)"], [0]),
        ([], [], []),
    ],
)
def test_order_and_types_decide(
    operators: list[str], kernels: list[str], expected: list[int]
) -> None:
    assert align(operators, kernels) == expected


def test_what_belongs_to_nothing_is_not_guessed() -> None:
    assert align(["CONV_2D"], [SIGMOID]) is None
    assert align(["LOGISTIC", "CONV_2D"], [CONV, SIGMOID]) is None
    assert align([], [CONV]) is None


def test_a_long_network() -> None:
    operators = ["PAD", "DEPTHWISE_CONV_2D", "CONV_2D", "ADD"] * 150
    kernels = ["Convolution (NHWC, F32) DWConv", DENSE, ADD] * 150
    expected = [4 * block + place for block in range(150) for place in (1, 2, 3)]
    assert align(operators, kernels) == expected
