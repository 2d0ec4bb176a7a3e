"""Quantizers observe, learn and freeze, and stay what the graph can express."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgekit.graph.torch_twin import FakeQuantize
from edgekit.graph.torch_twin.fake_quantize import BiasQuantize
from edgekit.training.qat.fake_quantize import QuantizerOptions, TrainableFakeQuantize
from edgekit.training.qat.observer import RangeObserver, affine_of_range


def activation(scale: float = 0.1, zero: float = 0.0, *, fixed: bool = False) -> FakeQuantize:
    return FakeQuantize(torch.tensor(scale), torch.tensor(zero), (-128, 127), fixed=fixed)


def weight(channels: int = 3) -> FakeQuantize:
    scale = torch.linspace(0.01, 0.03, channels)
    return FakeQuantize(scale, torch.zeros(channels), (-127, 127), axis=0, role="weight")


def trainable(source: FakeQuantize, kind: str, momentum: float = 0.5) -> TrainableFakeQuantize:
    return TrainableFakeQuantize(source, QuantizerOptions(kind, momentum)).train()  # type: ignore[arg-type]


def images(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["calibrated", "ema", "minmax", "learned"])
@pytest.mark.parametrize("role", ["activation", "weight"])
def test_it_starts_with_the_numbers_of_the_graph(kind: str, role: str) -> None:
    source = activation(0.037, -5.0) if role == "activation" else weight(4)
    module = trainable(source, kind)
    x = images()
    assert torch.equal(module(x), source(x)) if role == "activation" else True
    module.learn()
    scale, zero = module.current()
    assert torch.equal(scale, source.scale)
    assert torch.equal(zero, source.zero_point)
    if role == "activation":
        assert torch.equal(module(x), source(x))


def test_a_moving_average_follows_the_data_and_then_stays() -> None:
    module = trainable(activation(0.1, 0.0), "ema", momentum=0.5)
    start_low, start_high = module.real_range()
    module.observe()
    x = images()
    before = module(x)
    # The step itself still uses the old parameters.
    assert torch.equal(before, activation(0.1, 0.0)(x))
    module.end_step()
    low = start_low + 0.5 * (float(x.min()) - start_low)
    high = start_high + 0.5 * (float(x.max()) - start_high)
    scale, zero = module.current()
    assert float(scale) == pytest.approx((high - low) / 255, rel=1e-5)
    assert float(zero) == round(-128 - low / float(scale))
    module.freeze()
    module(10 * x)
    module.end_step()
    assert float(module.current()[0]) == float(scale)


def test_minmax_takes_the_extremes_of_all_steps_and_all_callers() -> None:
    module = trainable(activation(), "minmax")
    module.observe()
    for x in (torch.tensor([-1.0, 2.0]), torch.tensor([0.0, 3.0])):
        module(x)
    module.end_step()
    module(torch.tensor([-2.0, 1.0]))
    module.end_step()
    module.freeze()
    assert float(module.scale) == pytest.approx(5 / 255, rel=1e-6)
    assert float(module.zero_point) == round(-128 + 2 / (5 / 255))


def test_nothing_is_observed_in_evaluation() -> None:
    module = trainable(activation(), "ema")
    module.observe()
    module.eval()
    module(100 * images())
    module.end_step()
    assert float(module.scale) == float(torch.tensor(0.1))


def test_a_clamp_in_front_is_part_of_what_is_observed() -> None:
    module = trainable(activation(), "minmax")
    module.observe()
    module(torch.tensor([-4.0, 9.0]), (0.0, 6.0))
    module.end_step()
    assert float(module.scale) == pytest.approx(6 / 255, rel=1e-6)
    assert float(module.zero_point) == -128


def test_weights_follow_their_largest_element() -> None:
    source = weight()
    module = trainable(source, "minmax")
    module.observe()
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    module(x)
    torch.testing.assert_close(module.scale, x.abs().amax((1, 2, 3)) / 127)
    assert int(module.integers(x).abs().max()) == 127
    module.freeze()
    scale = module.scale.clone()
    module(5 * x)
    assert torch.equal(module.scale, scale)


@pytest.mark.parametrize("source", [activation(0.05, 3.0), weight(4)])
def test_a_learned_scale_moves_against_its_gradient(source: FakeQuantize) -> None:
    module = trainable(source, "learned")
    module.learn()
    optimizer = torch.optim.Adam([module.log_factor], lr=0.02)
    x = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) * 8
    start = float((module(x).detach() - x).square().mean())
    for _ in range(200):
        optimizer.zero_grad()
        torch.autograd.backward((module(x) - x).square().sum())
        optimizer.step()
    assert float((module(x).detach() - x).square().mean()) < start / 2
    assert bool((module.current()[0] > 0).all())
    assert torch.equal(module.current()[1], source.zero_point)


def test_the_gradient_has_the_published_factor() -> None:
    """1 / sqrt(elements of a sample that share the scale * highest integer)."""
    module = trainable(activation(0.5), "learned")
    module.learn()
    x = images()
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward(module(x), grad)
    y = activation(0.5)(x)
    inside = (y - x).abs() <= 0.25
    slope = torch.where(inside, (y - x) / 0.5, y / 0.5)
    expected = (grad * slope).sum() * 0.5 / math.sqrt(3 * 5 * 5 * 127)
    assert module.log_factor.grad is not None
    torch.testing.assert_close(module.log_factor.grad, expected, rtol=1e-4, atol=1e-6)


def test_freezing_keeps_the_exact_scale() -> None:
    module = trainable(activation(0.3), "learned")
    module.learn()
    with torch.no_grad():
        module.log_factor.fill_(0.123)
    x = images()
    before, scale = module(x), module.current()[0]
    settled = module.settled()
    module.freeze()
    assert torch.equal(module(x), before)
    assert torch.equal(settled(x), before)
    assert torch.equal(settled.scale, scale.detach())
    assert type(settled) is FakeQuantize
    assert not module.log_factor.requires_grad


@pytest.mark.parametrize("kind", ["ema", "minmax", "learned"])
def test_what_the_graph_demands_never_changes(kind: str) -> None:
    source = activation(1 / 256, -128.0, fixed=True)
    module = trainable(source, kind)
    module.observe()
    module(5 * images())
    module.end_step()
    module.learn()
    x = images().requires_grad_(True)
    torch.autograd.backward(module(x).sum())
    assert module.state == "frozen"
    assert torch.equal(module.scale, source.scale)
    assert module.log_factor.grad is None


@pytest.mark.parametrize("clamp", [(0.0, math.inf), (0.0, 6.0)])
@pytest.mark.parametrize("learning", [False, True])
def test_a_clamp_inside_is_a_clamp_before(clamp: tuple[float, float], learning: bool) -> None:
    x = 4 * images()
    modules = [trainable(activation(0.02, -100.0), "learned") for _ in range(2)]
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    results = []
    for index, module in enumerate(modules):
        if learning:
            module.learn()
        leaf = x.clone().requires_grad_(True)
        y = module(leaf, clamp) if index else module(torch.clamp(leaf, *clamp))
        torch.autograd.backward(y, grad)
        assert leaf.grad is not None
        results.append((y, leaf.grad, module.log_factor.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    if learning:
        assert results[0][2] is not None
        torch.testing.assert_close(results[0][2], results[1][2], rtol=1e-4, atol=1e-5)


def test_a_bias_uses_the_learned_scales() -> None:
    source, layer = activation(0.5), weight(2)
    one, other = trainable(source, "learned"), trainable(layer, "learned")
    bias = BiasQuantize((one, other))
    one.learn()
    with torch.no_grad():
        one.log_factor.fill_(0.7)
    expected = torch.tensor(0.5) * torch.exp(torch.tensor(0.7)) * layer.scale
    torch.testing.assert_close(bias.scale(), expected)
    values = torch.tensor([0.3, -0.1])
    torch.testing.assert_close(
        bias(values), torch.round(values / expected) * expected, rtol=1e-6, atol=0
    )


@given(
    st.floats(-1e4, 1e4, width=32), st.floats(-1e4, 1e4, width=32),
    st.sampled_from([(-128, 127), (0, 255)]),
)  # fmt: skip
def test_every_range_has_parameters_that_hold_it_and_zero(
    one: float, other: float, limits: tuple[int, int]
) -> None:
    low, high = min(one, other), max(one, other)
    scale, zero = affine_of_range(low, high, *limits)
    assert scale > 0
    assert limits[0] <= zero <= limits[1]
    # The zero point is rounded, so the range may be moved by half a step.
    assert (limits[0] - zero) * scale <= min(low, 0) + 0.501 * scale
    assert (limits[1] - zero) * scale >= max(high, 0) - 0.501 * scale


def test_sixteen_bits_are_symmetric() -> None:
    scale, zero = affine_of_range(-1.0, 4.0, -32768, 32767)
    assert zero == 0
    assert scale == pytest.approx(4 / 32767)


def test_an_observer_that_saw_nothing_has_no_range() -> None:
    observer = RangeObserver(None, 0.5, union=False)
    observer.record(torch.empty(0, 3))
    assert observer.end_step() is None


def is_half(scale: torch.Tensor) -> bool:
    """Whether float16 represents every number."""
    return bool(torch.isfinite(scale.half()).all()) and torch.equal(scale.half().float(), scale)


def short(source: FakeQuantize, kind: str) -> TrainableFakeQuantize:
    options = QuantizerOptions(kind, 0.5, "float16")  # type: ignore[arg-type]
    source.scale.copy_(source.scale.half().float())
    return TrainableFakeQuantize(source, options).train()


@pytest.mark.parametrize("source", [activation(0.05, 3.0), weight(4)])
def test_a_learned_scale_is_short_in_every_step(source: FakeQuantize) -> None:
    module = short(source, "learned")
    module.learn()
    optimizer = torch.optim.Adam([module.log_factor], lr=0.003)
    x = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)) * 8
    seen = set()
    for _ in range(40):
        optimizer.zero_grad()
        y = module(x)
        scale, _ = module.current()
        assert is_half(scale)
        # What comes out is whole steps of that scale, not of the one that is trained.
        steps = y / (scale if module.axis is None else scale.reshape(-1, 1))
        torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)
        torch.autograd.backward(((y - x) ** 2).mean())
        assert module.log_factor.grad is not None
        assert bool((module.log_factor.grad != 0).all())
        optimizer.step()
        seen.add(float(scale.reshape(-1)[0]))
    assert len(seen) > 20
    before, scale = module(x), module.current()[0]
    module.freeze()
    assert torch.equal(module.scale, scale)
    assert torch.equal(module(x), before)
    assert is_half(module.settled().scale)


@given(st.floats(-50, 0), st.floats(0.001, 50))
def test_an_observed_scale_is_short_and_covers_the_range(low: float, high: float) -> None:
    module = short(activation(), "minmax")
    module.observe()
    module(torch.tensor([low, high]))
    module.end_step()
    module.freeze()
    assert is_half(module.scale)
    lowest, highest = module.real_range()
    step = float(module.scale)
    assert lowest - step / 2 <= low
    assert high <= highest + step / 2
    assert (highest - lowest) - (high - low) <= max(255 * 2**-14, 2**-10 * (high - low)) + 1e-5


def test_weights_follow_their_largest_element_in_short_scales() -> None:
    module = short(weight(), "minmax")
    module.observe()
    x = torch.randn(3, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    module(x)
    exact = x.abs().amax((1, 2, 3)) / 127
    assert is_half(module.scale)
    assert bool((module.scale >= exact).all())
    torch.testing.assert_close(module.scale, exact, rtol=2**-10, atol=0)
    assert int(module.integers(x).abs().max()) <= 127
