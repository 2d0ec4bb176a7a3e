"""Fake quantization against NumPy, ONNX Runtime and its own definition."""

from __future__ import annotations

import functools
import math

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from torch import Tensor

from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin.affine_function import (
    Rounding,
    fake_quantize,
    integers_of,
    learned_fake_quantize,
    rounded_bias,
)
from edgekit.graph.values import Array

RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
values = numpy_strategies.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False),
)
scales = st.floats(2.0**-20, 2.0**10, width=32)


@functools.cache
def runtime(kind: str) -> ReferenceSession:
    model = onnx.parser.parse_model(
        f"""<ir_version: 10, opset_import: ["" : 21]>
        g (float[n] x, float scale, {kind} zero) => ({kind}[n] q, float[n] y) {{
          q = QuantizeLinear (x, scale, zero)
          y = DequantizeLinear (q, scale, zero)
        }}
        """
    )
    return ReferenceSession(model, optimization="disabled")


def by_runtime(x: Array, scale: float, zero: int, kind: str) -> tuple[Array, Array]:
    feeds = {"x": x, "scale": np.array(scale, np.float32), "zero": np.array(zero, kind)}
    found = runtime(kind).run(feeds)
    return found["q"], found["y"]


@settings(max_examples=300, deadline=None)
@given(values, scales, st.sampled_from(sorted(RANGES)), st.data())
def test_it_rounds_like_onnx_runtime(
    x: Array, scale: float, kind: str, data: st.DataObject
) -> None:
    low, high = RANGES[kind]
    zero = data.draw(st.integers(low, high))
    integers, reals = by_runtime(x, scale, zero, kind)
    arguments = torch.from_numpy(x), torch.tensor(scale), torch.tensor(float(zero))
    assert np.array_equal(integers_of(*arguments, Rounding(low, high)).numpy(), integers)
    assert np.array_equal(fake_quantize(*arguments, Rounding(low, high)).numpy(), reals)


@settings(max_examples=200, deadline=None)
@given(st.integers(-140, 140), scales, st.integers(-128, 127))
def test_halves_go_to_the_even_neighbour(steps: int, scale: float, zero: int) -> None:
    # A power of two makes the quotient exactly a half.
    scale = 2.0 ** math.floor(math.log2(scale))
    x = np.array([(steps + 0.5) * scale], np.float32)
    integers, _ = by_runtime(x, scale, zero, "int8")
    nearest = steps if steps % 2 == 0 else steps + 1
    assert integers[0] == min(max(nearest + zero, -128), 127)
    found = integers_of(
        torch.from_numpy(x), torch.tensor(scale), torch.tensor(float(zero)), Rounding(-128, 127)
    )
    assert int(found[0]) == integers[0]


@settings(max_examples=200, deadline=None)
@given(
    numpy_strategies.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 5)),
        elements=st.floats(-100, 100, width=32, allow_subnormal=False),
    ),
    st.integers(0, 2),
    st.data(),
)  # fmt: skip
def test_channels_are_rounded_each_by_its_own_scale(
    x: Array, axis: int, data: st.DataObject
) -> None:
    size = x.shape[axis]
    drawn = data.draw(st.lists(st.floats(0.001953125, 4, width=32), min_size=size, max_size=size))
    scale = torch.tensor(drawn)
    found = fake_quantize(
        torch.from_numpy(x), scale, torch.zeros(size), Rounding(-127, 127, axis)
    ).numpy()
    for index in range(size):
        part = np.take(x, index, axis)
        step = np.float32(drawn[index])
        expected = np.clip(np.rint(part.astype(np.float32) / step), -127, 127) * step
        assert np.array_equal(np.take(found, index, axis), expected)


def test_blocks_are_rounded_each_by_its_own_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, generator=generator)
    scale = torch.rand(3, 2, generator=generator) + 0.1
    rounding = Rounding(-7, 7, axis=1, block=4)
    found = fake_quantize(x, scale, torch.zeros(3, 2), rounding)
    wide = scale.repeat_interleave(4, dim=1)
    assert torch.equal(found, torch.clamp(torch.round(x / wide), -7, 7) * wide)
    assert torch.equal(
        integers_of(x, scale, torch.zeros(3, 2), rounding), torch.round(found / wide).long()
    )


def test_large_and_channels_last_tensors_are_rounded_alike() -> None:
    x = torch.randn(2, 64, 40, 40, generator=torch.Generator().manual_seed(0))
    arguments = torch.tensor(0.03), torch.tensor(5.0), Rounding(-128, 127)
    expected = torch.clamp(torch.round(x / 0.03), -133, 122) * torch.tensor(0.03)
    assert x.numel() > 1 << 17
    assert torch.equal(fake_quantize(x, *arguments), expected)
    last = x.to(memory_format=torch.channels_last)
    assert torch.equal(fake_quantize(last, *arguments), expected)
    assert torch.equal(fake_quantize(x.transpose(2, 3), *arguments), expected.transpose(2, 3))


def surrogate(x: Tensor, scale: Tensor, zero: Tensor, rounding: Rounding) -> Tensor:
    """The definition that the straight-through gradient differentiates.

    ``round(u)`` becomes ``u`` plus a constant, so that autograd gives the gradient of the
    composition itself.
    """
    shape = [1] * x.ndim
    if rounding.axis is not None:
        shape[rounding.axis] = -1
        scale, zero = scale.reshape(shape), zero.reshape(shape)
    if rounding.clamp is not None:
        x = torch.clamp(x, *rounding.clamp)
    u = x / scale
    rounded = u + (torch.round(u) - u).detach()
    integers = torch.clamp(rounded + zero, rounding.low, rounding.high)
    return (integers - zero) * scale


def gradients(
    function: object, x: Tensor, scale: Tensor, zero: Tensor, rounding: Rounding
) -> tuple[Tensor, ...]:
    inputs = [item.clone().requires_grad_(True) for item in (x, scale, zero)]
    assert callable(function)
    y = function(*inputs, rounding)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=y.dtype)
    return torch.autograd.grad(y, inputs, grad)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("zero", [0.0, -128.0, 17.0])
def test_gradients_are_those_of_the_definition(axis: int | None, zero: float) -> None:
    generator = torch.Generator().manual_seed(1)
    # float64, and no value near a half, where the definition has no gradient.
    x = torch.randn(6, 5, generator=generator, dtype=torch.float64) * 60
    size = () if axis is None else (x.shape[axis],)
    scale = torch.rand(size, generator=generator, dtype=torch.float64) * 0.5 + 0.25
    zeros = torch.full(size, zero, dtype=torch.float64)
    rounding = Rounding(-128, 127, axis)
    ours = gradients(fake_quantize, x, scale, zeros, rounding)
    theirs = gradients(surrogate, x, scale, zeros, rounding)
    assert bool((ours[0] == 0).any())
    assert bool((ours[0] != 0).any())
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_scale_gradient_is_the_published_formula() -> None:
    """Equation 3 of Esser et al., element by element."""
    x = torch.tensor([-5.0, -1.3, -0.2, 0.4, 0.9, 7.0], dtype=torch.float64)
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    low, high = -4, 3
    expected = []
    for value in x.tolist():
        ratio = value / 0.5
        if ratio <= low:
            expected.append(float(low))
        elif ratio >= high:
            expected.append(float(high))
        else:
            expected.append(-ratio + round(ratio))
    y = fake_quantize(x, scale, torch.zeros((), dtype=torch.float64), Rounding(low, high))
    for index, wanted in enumerate(expected):
        (found,) = torch.autograd.grad(y[index], scale, retain_graph=True)
        assert float(found) == pytest.approx(wanted, abs=1e-12)


def test_inside_the_range_the_gradient_is_that_of_finite_differences() -> None:
    """Over whole steps the rounding cancels out, so differences show the straight line."""
    step, reach = 0.125, 8
    x = torch.linspace(-20, 20, 161)
    arguments = torch.tensor(step), torch.tensor(10.0), Rounding(-128, 127)
    wide = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(fake_quantize(wide, *arguments).sum(), wide)
    ahead, behind = (fake_quantize(x + sign * reach * step, *arguments) for sign in (1, -1))
    slope = (ahead - behind) / (2 * reach * step)
    lowest, highest = (-128 - 10) * step, (127 - 10) * step
    inner = (x > lowest + reach * step) & (x < highest - reach * step)
    outer = (x < lowest - reach * step) | (x > highest + reach * step)
    assert int(inner.sum()) > 50
    assert int(outer.sum()) > 10
    torch.testing.assert_close(slope[inner], gradient[inner])
    torch.testing.assert_close(slope[outer], gradient[outer])
    assert bool((gradient[inner] == 1).all())
    assert bool((gradient[outer] == 0).all())


@pytest.mark.parametrize("clamp", [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (0.0, 100.0)])
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1000), zero=st.integers(-128, 127))
def test_clamping_inside_equals_clamping_before(
    clamp: tuple[float, float], seed: int, zero: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(50, generator=generator) * 8
    scale = torch.rand((), generator=generator) * 0.1 + 0.01
    zeros = torch.tensor(float(zero))
    fused = x.clone().requires_grad_(True)
    y = fake_quantize(fused, scale, zeros, Rounding(-128, 127, clamp=clamp))
    apart = x.clone().requires_grad_(True)
    expected = fake_quantize(torch.clamp(apart, *clamp), scale, zeros, Rounding(-128, 127))
    assert torch.equal(y, expected)
    (one,) = torch.autograd.grad(y.sum(), fused)
    (other,) = torch.autograd.grad(expected.sum(), apart)
    assert torch.equal(one, other)


def test_the_log_factor_gets_the_scaled_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, generator=generator, dtype=torch.float64) * 3
    start, zero = torch.tensor(0.02, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    log_factor = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    rounding = Rounding(-128, 127, factor=0.25)
    y = learned_fake_quantize(x, start * math.exp(0.3), zero, log_factor, rounding)
    grad = torch.randn(40, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad(y, log_factor, grad)
    scale = (start * math.exp(0.3)).requires_grad_(True)
    expected_y = surrogate(x, scale, zero, Rounding(-128, 127))
    torch.testing.assert_close(y, expected_y.detach())
    (slope,) = torch.autograd.grad(expected_y, scale, grad)
    torch.testing.assert_close(found, slope * scale.detach() * 0.25)


def test_a_bias_has_the_gradient_of_the_identity() -> None:
    bias = torch.tensor([0.31, -0.27], requires_grad=True)
    scale = torch.tensor([0.25, 0.5])
    y = rounded_bias(bias, scale, -(1 << 31), (1 << 31) - 1)
    assert y.tolist() == [0.25, -0.5]
    torch.autograd.backward(y, torch.tensor([2.0, 3.0]))
    assert bias.grad is not None
    assert bias.grad.tolist() == [2.0, 3.0]
