"""Counts against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.targets.tflite.model_file import ModelFile, parse_model
from edgekit.targets.tflite.operator_costs import (
    count_arithmetic,
    count_macs,
    count_parameters,
    count_transposes,
)
from tests.targets.tflite.file_builder import FileBuilder, classifier, weights


def _parsed(file: FileBuilder, inputs: list[int], outputs: list[int]) -> ModelFile:
    return parse_model(file.finish(inputs, outputs), "m.tflite")


def _conv(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (-1, 8, 10, 4))
    w = file.constant("w", weights(6, 3, 5, 2))  # two groups of two channels
    y = file.tensor("y", (-1, 4, 5, 6))
    file.op("CONV_2D", (x, w, -1), (y,))
    return x, y


def _depthwise(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (1, 8, 8, 4))
    w = file.constant("w", weights(1, 3, 3, 8))
    y = file.tensor("y", (1, 8, 8, 8))
    file.op("DEPTHWISE_CONV_2D", (x, w), (y,))
    return x, y


def _fully_connected(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (3, 7))
    w = file.constant("w", weights(5, 7))
    y = file.tensor("y", (3, 5))
    file.op("FULLY_CONNECTED", (x, w, -1), (y,))
    return x, y


def _transpose_conv(file: FileBuilder) -> tuple[int, int]:
    shape = file.constant("shape", np.array([1, 8, 8, 6], np.int32))
    w = file.constant("w", weights(6, 2, 2, 3))
    x = file.tensor("x", (1, 4, 4, 3))
    y = file.tensor("y", (1, 8, 8, 6))
    file.op("TRANSPOSE_CONV", (shape, w, x), (y,))
    return x, y


def _conv_3d(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (1, 4, 4, 4, 2))
    w = file.constant("w", weights(3, 3, 3, 2, 5))
    y = file.tensor("y", (1, 2, 2, 2, 5))
    file.op("CONV_3D", (x, w), (y,))
    return x, y


def _matmul(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (2, 3, 7))
    w = file.tensor("w", (2, 7, 4))
    y = file.tensor("y", (2, 3, 4))
    file.op("BATCH_MATMUL", (x, w), (y,), options_type="BatchMatMulOptions")
    return x, y


def _matmul_adjoint(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (2, 7, 3))
    w = file.tensor("w", (2, 7, 4))
    y = file.tensor("y", (2, 3, 4))
    file.op("BATCH_MATMUL", (x, w), (y,), {"adjX": 1}, options_type="BatchMatMulOptions")
    return x, y


def _pooling(file: FileBuilder) -> tuple[int, int]:
    x = file.tensor("x", (1, 8, 8, 4))
    y = file.tensor("y", (1, 4, 4, 4))
    file.op("AVERAGE_POOL_2D", (x,), (y,))
    return x, y


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (_conv, 4 * 5 * 6 * 3 * 5 * 2),
        (_depthwise, 8 * 8 * 8 * 3 * 3),
        (_fully_connected, 3 * 5 * 7),
        (_transpose_conv, 4 * 4 * 3 * 2 * 2 * 6),
        (_conv_3d, 2 * 2 * 2 * 5 * 3 * 3 * 3 * 2),
        (_matmul, 2 * 3 * 4 * 7),
        (_matmul_adjoint, 2 * 3 * 4 * 7),
        (_pooling, 0),
    ],
)
def test_macs_of_one_operator(
    build: Callable[[FileBuilder], tuple[int, int]], expected: int
) -> None:
    file = FileBuilder()
    x, y = build(file)
    assert count_macs(_parsed(file, [x], [y])) == (expected, "")


def test_macs_of_a_network_are_the_sum_at_batch_1() -> None:
    file = parse_model(classifier(batch=-1), "m.tflite")
    assert count_macs(file) == (8 * 8 * 6 * 3 * 3 * 3 + 6 * 4, "")


@pytest.mark.parametrize(("name", "custom"), [("Detect", True), ("LSTM", False)])
def test_macs_inside_opaque_operators_are_not_guessed(name: str, custom: bool) -> None:
    file = FileBuilder()
    x, y = _conv(file)
    z = file.tensor("z", (1, 4))
    file.op(name, (y,), (z,), custom=custom)
    macs, reason = count_macs(_parsed(file, [x], [z]))
    assert macs is None
    assert reason == f"the work inside {name} is not known from the file"


def test_macs_of_an_open_shape_are_not_guessed() -> None:
    file = FileBuilder()
    x, y = _conv(file)
    file.graph.tensors[y].shape = None
    file.graph.tensors[y].shapeSignature = None
    file.graph.tensors[y].hasRank = False
    macs, reason = count_macs(_parsed(file, [x], [y]))
    assert macs is None
    assert reason == "operator 0 (CONV_2D) has a size that is open besides the batch"


def test_macs_of_a_dynamic_height_are_not_guessed() -> None:
    file = FileBuilder()
    x, y = _conv(file)
    file.graph.tensors[y].shapeSignature = [-1, -1, 5, 6]
    macs, reason = count_macs(_parsed(file, [x], [y]))
    assert macs is None
    assert "open besides the batch" in reason


def test_operator_without_its_filter_is_an_error() -> None:
    file = FileBuilder()
    x = file.tensor("x", (1, 8, 8, 4))
    y = file.tensor("y", (1, 8, 8, 4))
    file.op("CONV_2D", (x,), (y,))
    with pytest.raises(InputError, match=r"operator 0 \(CONV_2D\) has 1 inputs and 1 outputs"):
        count_macs(_parsed(file, [x], [y]))


def test_parameters_are_weights_and_not_shapes_each_buffer_once() -> None:
    file = FileBuilder()
    x, y = _transpose_conv(file)  # 72 weights and a shape of 4 numbers
    again = file.tensor("same weights", (6, 2, 2, 3))
    file.graph.tensors[again].buffer = file.graph.tensors[1].buffer
    file.constant("quantized", np.zeros((5, 2), np.int8), scale=0.5)
    assert count_parameters(_parsed(file, [x], [y])) == 6 * 2 * 2 * 3 + 5 * 2


def test_arithmetic_follows_the_first_activation() -> None:
    file = FileBuilder()
    x = file.tensor("x", (1, 4))
    q = file.tensor("q", (1, 4), "int8", scale=0.1)
    half = file.constant("half", np.ones((3, 4), np.float16))
    full = file.tensor("full", (3, 4))
    small = file.constant("small", np.ones((3, 4), np.int8), scale=0.1)
    y = file.tensor("y", (1, 3))
    z = file.tensor("z", (1, 3))
    r = file.tensor("r", (1, 4), "int8", scale=0.1)
    file.op("DEQUANTIZE", (half,), (full,))  # of a constant: neither
    file.op("QUANTIZE", (x,), (q,))  # float
    file.op("RELU", (q,), (r,))  # integer
    file.op("FULLY_CONNECTED", (x, full, -1), (y,))  # float
    file.op("FULLY_CONNECTED", (x, small, -1), (z,))  # float with int8 weights
    found = count_arithmetic(_parsed(file, [x], [y, z, r]))
    assert (found.integer, found.floating, found.hybrid, found.constant_dequantize) == (1, 3, 1, 1)


def _transposed_network(perm: tuple[int, ...], *, second_convolution: bool) -> ModelFile:
    """CONV_2D, then TRANSPOSE by ``perm``, then RELU and perhaps CONV_2D."""
    file = FileBuilder()
    x, y = _conv(file)
    shape = (1, 4, 5, 6) if len(perm) == 4 else (1, 4, 5, 2, 3)
    if len(perm) == 5:
        split = file.tensor("split", shape)
        file.op("RESHAPE", (y,), (split,))
        y = split
    order = file.constant("order", np.array(perm, np.int32))
    moved = file.tensor("moved", [shape[axis] for axis in perm])
    file.op("TRANSPOSE", (y, order), (moved,))
    last = file.tensor("last", [shape[axis] for axis in perm])
    file.op("RELU", (moved,), (last,))
    if second_convolution:
        flat = file.tensor("flat", (1, 1, 1, prod(shape)))
        file.op("RESHAPE", (last,), (flat,))
        out = file.tensor("out", (1, 1, 1, 2))
        file.op("CONV_2D", (flat, file.constant("v", weights(2, 1, 1, prod(shape))), -1), (out,))
        last = out
    return _parsed(file, [x], [last])


@pytest.mark.parametrize(
    ("perm", "second_convolution", "expected"),
    [
        ((0, 3, 1, 2), True, (1, 1, 1)),
        ((0, 2, 3, 1), True, (1, 1, 1)),
        # Heads of attention.
        ((0, 2, 1, 3), True, (1, 1, 0)),
        ((0, 3, 1, 2), False, (1, 0, 0)),
        ((0, 1, 2, 4, 3), True, (1, 1, 0)),
    ],
)
def test_transposes_between_convolutions(
    perm: tuple[int, ...], second_convolution: bool, expected: tuple[int, int, int]
) -> None:
    found = count_transposes(_transposed_network(perm, second_convolution=second_convolution))
    assert (found.total, found.between_convolutions, found.of_layout) == expected
