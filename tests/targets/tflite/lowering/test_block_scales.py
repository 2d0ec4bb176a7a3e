"""How LiteRT reads the scales of blocks: what the lowering relies on, and what it avoids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekit.targets.tflite.lowering.block_scales import fit_float16
from edgekit.targets.tflite.lowering.flatbuffer import FlatbufferModel, Operator
from edgekit.targets.tflite.lowering.quantization import FLOAT32, Quantization, TensorType

type Array = npt.NDArray[Any]

UNITS, INPUTS, BLOCK = 8, 64, 32


def blocks(scales: Array) -> TensorType:
    numbers = tuple(float(scale) for scale in scales.reshape(-1))
    return TensorType("int4", Quantization(numbers, (0,) * len(numbers), 1, BLOCK))


def model(integers: Array, scales: Array, *, restored: bool) -> bytes:
    """A FULLY_CONNECTED on blocks that reads one-hot rows, so that its output is the weights."""
    made = FlatbufferModel("test")
    x = made.add_tensor("x", (INPUTS, INPUTS), FLOAT32)
    w = made.add_tensor("w", integers.shape, blocks(scales), integers)
    if restored:
        floats = made.add_tensor("floats", integers.shape, FLOAT32)
        made.add_operator(Operator("DEQUANTIZE", schema.DequantizeOptionsT(), 6), [w], [floats])
        w = floats
    y = made.add_tensor("y", (INPUTS, len(integers)), FLOAT32)
    operator = Operator("FULLY_CONNECTED", schema.FullyConnectedOptionsT(), 12)
    made.add_operator(operator, [x, w, -1], [y])
    return made.build({"x": x}, {"y": y})


def weights_seen(content: bytes, *, delegate: bool) -> Array:
    resolver = (
        OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.eye(INPUTS, dtype="f4"))
    interpreter.invoke()
    seen: Array = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return seen.T


def integers_and_scales(units: int = UNITS) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    integers = rng.integers(1, 8, (units, INPUTS)).astype(np.int8)
    return integers, rng.uniform(0.01, 0.02, (units, INPUTS // BLOCK)).astype(np.float16)


def short(scales: Array) -> Array:
    """The 8 leading binary digits, as bfloat16 has them."""
    bits = scales.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    return np.asarray(bits.view(np.float32))


def real(integers: Array, scales: Array) -> Array:
    return np.asarray(integers * np.repeat(scales.astype(np.float32), BLOCK, axis=1))


@pytest.mark.parametrize("delegate", [True, False])
def test_scales_of_eight_digits_mean_the_same_to_all_kernels(delegate: bool) -> None:
    integers, scales = integers_and_scales()
    scales = short(scales)
    assert fit_float16(blocks(scales).quantization or Quantization((), ()))
    seen = weights_seen(model(integers, scales, restored=False), delegate=delegate)
    np.testing.assert_allclose(seen, real(integers, scales), rtol=1e-4)


def test_xnnpack_cuts_longer_scales() -> None:
    integers, scales = integers_and_scales()
    assert not fit_float16(blocks(scales).quantization or Quantization((), ()))
    content = model(integers, scales, restored=False)
    with_delegate = weights_seen(content, delegate=True)
    np.testing.assert_allclose(with_delegate, real(integers, short(scales)), rtol=1e-4)
    np.testing.assert_allclose(
        weights_seen(content, delegate=False), real(integers, scales), rtol=1e-4
    )


def test_dequantize_does_not_know_blocks() -> None:
    integers, scales = integers_and_scales()
    seen = weights_seen(model(integers, short(scales), restored=True), delegate=False)
    assert np.abs(seen / real(integers, short(scales)) - 1).max() > 0.05


def test_the_builtin_kernel_is_wrong_with_three_outputs() -> None:
    integers, scales = integers_and_scales(units=3)
    content = model(integers, short(scales), restored=False)
    expected = real(integers, short(scales))
    np.testing.assert_allclose(weights_seen(content, delegate=True), expected, rtol=1e-4)
    assert np.abs(weights_seen(content, delegate=False) / expected - 1).max() > 0.05


@pytest.mark.parametrize(
    ("scale", "fits"),
    [(0.5, True), (2.0**-14, True), (2.0**-15, False), (65280.0, True), (65536.0, False),
     (1.0 + 2.0**-7, True), (1.0 + 2.0**-8, False)],
)  # fmt: skip
def test_which_scales_fit(scale: float, fits: bool) -> None:
    assert fit_float16(Quantization((1.0, scale), (0, 0), 1, BLOCK)) is fits
